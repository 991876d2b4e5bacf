//! A running relay on port 0 and a client that speaks to it by hand, honest or not.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail the test where they can't go on"
)]
#![expect(dead_code, reason = "each test program uses its own part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use futures_util::{SinkExt as _, StreamExt as _};
use ibkr_agent_domain::SidecarId;
use ibkr_agent_protocol::catalogue::catalogue_hash;
use ibkr_agent_protocol::relay::frame::{
    EXPORTER_LABEL, Frame, Hello, Message, SUBPROTOCOL, hello_text,
};
use ibkr_agent_protocol::relay::join::{enrol_text, to_hex};
use ibkr_agent_protocol::relay::{EnrolReply, EnrolRequest, JoinToken, decode, encode};
use ibkr_agent_remote::pairing::NewPairing;
use ibkr_agent_remote::pki::Pki;
use ibkr_agent_remote::relay::{RelayConfig, RelayHandle, RelayListener};
use ibkr_agent_remote::store::{Store, Subject};
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::{self, ClientRequestBuilder};
use tokio_tungstenite::{WebSocketStream, client_async};
use tokio_util::sync::CancellationToken;

pub(crate) const ISSUER: &str = "https://issuer.test";
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn id(text: &str) -> SidecarId {
    SidecarId::parse(text).unwrap()
}

/// Waits for something that must happen; panics where it doesn't.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it did not happen in time")
}

pub(crate) struct Relay {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Arc<Store>,
    pub(crate) pki: Arc<Pki>,
    pub(crate) handle: RelayHandle,
    pub(crate) shutdown: CancellationToken,
}

impl Relay {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut RelayConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path()).unwrap());
        let pki = Arc::new(Pki::open(dir.path(), "localhost", SystemTime::now()).unwrap());
        let mut config = RelayConfig::new("127.0.0.1:0".parse().unwrap(), "replica-1");
        change(&mut config);
        let bound = RelayListener::bind(config, Arc::clone(&store), Arc::clone(&pki)).await;
        let (handle, listener) = bound.unwrap();
        let shutdown = CancellationToken::new();
        tokio::spawn(listener.run(shutdown.clone()));
        Self { dir, store, pki, handle, shutdown }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    pub(crate) async fn join(&self, sidecar: &str) -> JoinToken {
        let new = NewPairing {
            sidecar: id(sidecar),
            subjects: vec![Subject::new(ISSUER, &format!("user-of-{sidecar}"))],
            ttl: Duration::from_secs(600),
        };
        self.handle.pairing().create(new).await.unwrap()
    }

    /// TLS settings that trust this relay and show a certificate, or none.
    pub(crate) fn tls(&self, shown: Option<&Shown>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let ca = self.pki.server_ca_pem();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        match shown {
            None => config.with_no_client_auth(),
            Some(shown) => {
                let chain = vec![shown.certificate()];
                let key = PrivateKeyDer::from_pem_slice(shown.key_pem.as_bytes()).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        }
    }

    pub(crate) async fn connect(&self, config: &Arc<ClientConfig>) -> std::io::Result<Tls> {
        let stream = TcpStream::connect(self.address()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::clone(config)).connect(name, stream).await
    }

    pub(crate) async fn post(&self, path: &str, body: &[u8]) -> (u16, String) {
        let mut stream = self.connect(&Arc::new(self.tls(None))).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // A refusal may come before the whole body was taken.
        drop(stream.write_all(body).await);
        let mut answer = Vec::new();
        drop(soon(stream.read_to_end(&mut answer)).await);
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
        (status, body)
    }

    pub(crate) async fn enrol(&self, request: &EnrolRequest) -> (u16, String) {
        self.post("/pairing/enrol", &serde_json::to_vec(request).unwrap()).await
    }

    /// Pairs a sidecar that is what it should be.
    pub(crate) async fn pair(&self, sidecar: &str) -> Member {
        let join = self.join(sidecar).await;
        let member = Member::new(sidecar);
        let (status, body) = self.enrol(&member.enrolment(&join)).await;
        assert_eq!(status, 200, "{body}");
        let reply: EnrolReply = serde_json::from_str(&body).unwrap();
        member.with_certificate(reply.certificate_pem)
    }

    /// Upgrades a connection to a WebSocket.
    pub(crate) async fn upgrade(&self, stream: Tls) -> Result<Socket, tungstenite::Error> {
        let uri = format!("wss://localhost:{}/relay", self.address().port());
        let request =
            ClientRequestBuilder::new(uri.parse().unwrap()).with_sub_protocol(SUBPROTOCOL);
        soon(Box::pin(client_async(request, stream))).await.map(|(socket, _)| socket)
    }

    /// Opens the WebSocket of a certificate, without a hello yet.
    pub(crate) async fn open(
        &self,
        shown: &Shown,
    ) -> Result<(Socket, [u8; 32]), tungstenite::Error> {
        let config = Arc::new(self.tls(Some(shown)));
        let stream = self.connect(&config).await.map_err(tungstenite::Error::Io)?;
        let exporter = exporter(&stream);
        Ok((self.upgrade(stream).await?, exporter))
    }

    /// Opens a link as a paired sidecar does, up to the welcome.
    pub(crate) async fn link(&self, member: &Member) -> Socket {
        let (mut socket, exporter) = self.open(&member.shown).await.unwrap();
        say(&mut socket, Frame::Hello(member.hello(&exporter))).await;
        let frame = hear(&mut socket).await.expect("no answer").frame;
        assert!(matches!(frame, Frame::Welcome(_)), "{frame:?}");
        socket
    }

    /// A certificate signed with the relay's own client CA, as one who stole its key would make.
    pub(crate) fn forge(&self, sidecar: &str, usage: ExtendedKeyUsagePurpose) -> Shown {
        self.forge_with("relay-client-ca.pem", sidecar, usage)
    }

    pub(crate) fn forge_with(
        &self,
        ca: &str,
        sidecar: &str,
        usage: ExtendedKeyUsagePurpose,
    ) -> Shown {
        let text = std::fs::read(self.dir.path().join(ca)).unwrap();
        let certificate = CertificateDer::from_pem_slice(&text).unwrap();
        let key = PrivateKeyDer::from_pem_slice(&text).unwrap();
        let issuer =
            Issuer::from_ca_cert_der(&certificate, KeyPair::try_from(&key).unwrap()).unwrap();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        let name = format!("spiffe://ibkr-agent/sidecar/{sidecar}");
        params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Shown { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() }
    }
}

pub(crate) type Tls = TlsStream<TcpStream>;
pub(crate) type Socket = WebSocketStream<Tls>;

/// A client certificate and its key.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

impl Shown {
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate_pem.as_bytes()).unwrap()
    }
}

/// A sidecar's keys, by hand.
pub(crate) struct Member {
    pub(crate) id: SidecarId,
    pub(crate) identity: Ed25519KeyPair,
    pub(crate) tls_key: KeyPair,
    pub(crate) shown: Shown,
}

impl Member {
    pub(crate) fn new(sidecar: &str) -> Self {
        let tls_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let shown = Shown { certificate_pem: String::new(), key_pem: tls_key.serialize_pem() };
        let identity = Ed25519KeyPair::generate().unwrap();
        Self { id: id(sidecar), identity, tls_key, shown }
    }

    pub(crate) fn csr(&self) -> String {
        CertificateParams::default().serialize_request(&self.tls_key).unwrap().pem().unwrap()
    }

    pub(crate) fn enrolment(&self, join: &JoinToken) -> EnrolRequest {
        self.enrolment_with(join, self.csr())
    }

    pub(crate) fn enrolment_with(&self, join: &JoinToken, csr_pem: String) -> EnrolRequest {
        let proof = self.identity.sign(enrol_text(join, &csr_pem).as_bytes());
        EnrolRequest {
            join_token: join.expose().to_string(),
            csr_pem,
            identity_public_key: to_hex(self.identity.public_key().as_ref()),
            proof: to_hex(proof.as_ref()),
        }
    }

    pub(crate) fn with_certificate(mut self, certificate_pem: String) -> Self {
        self.shown.certificate_pem = certificate_pem;
        self
    }

    pub(crate) fn hello(&self, exporter: &[u8; 32]) -> Hello {
        let text = hello_text(exporter, &self.id, &[1], &catalogue_hash());
        Hello {
            sidecar_id: self.id.clone(),
            versions: vec![1],
            catalogue_hash: catalogue_hash(),
            software: "test".to_owned(),
            signature: to_hex(self.identity.sign(text.as_bytes()).as_ref()),
        }
    }
}

pub(crate) fn exporter(stream: &Tls) -> [u8; 32] {
    stream.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, None).unwrap()
}

pub(crate) async fn say(socket: &mut Socket, frame: Frame) {
    say_of(socket, 0, frame).await;
}

pub(crate) async fn say_of(socket: &mut Socket, id: u64, frame: Frame) {
    let bytes = encode(&Message { id, frame }).unwrap();
    socket.send(tungstenite::Message::Binary(bytes.into())).await.unwrap();
}

/// The next message, or none where the link is over.
pub(crate) async fn hear(socket: &mut Socket) -> Option<Message> {
    loop {
        match soon(socket.next()).await {
            Some(Ok(tungstenite::Message::Binary(bytes))) => return Some(decode(&bytes).unwrap()),
            Some(Ok(tungstenite::Message::Ping(_) | tungstenite::Message::Pong(_))) => {}
            _ => return None,
        }
    }
}
