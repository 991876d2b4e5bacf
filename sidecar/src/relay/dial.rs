//! One attempt to reach the relay: TCP, TLS 1.3 with the client certificate, WebSocket.
//!
//! In TLS 1.3 the client is done before the server has judged its certificate: a refusal arrives
//! as an alert in whatever is read next. So errors of every step are searched for alerts.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ibkr_agent_domain::Untrusted;
use ibkr_agent_protocol::relay::frame::{
    EXPORTER_BYTES, EXPORTER_LABEL, MAX_FRAME_BYTES, SUBPROTOCOL,
};
use ibkr_agent_protocol::relay::join::RELAY_PATH;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config, tungstenite};

use super::Advice;
use super::credentials::Credentials;

const BUFFER_BYTES: usize = 16 * 1024;
const MAX_WRITE_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Why an attempt failed.
#[derive(Debug)]
pub(super) struct DialError {
    pub(super) reason: String,
    pub(super) advice: Advice,
}

impl DialError {
    fn wait(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), advice: Advice::Wait }
    }

    fn pair_again(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), advice: Advice::PairAgain }
    }
}

/// An upgraded connection and its keying material.
pub(super) struct Dialled {
    pub(super) socket: WebSocketStream<TlsStream<TcpStream>>,
    pub(super) exporter: [u8; EXPORTER_BYTES],
}

/// Dials with a time-out over everything.
pub(super) async fn dial(
    credentials: &Credentials,
    patience: Duration,
) -> Result<Dialled, DialError> {
    match tokio::time::timeout(patience, connect(credentials)).await {
        Ok(result) => result,
        Err(_) => Err(DialError::wait("the relay did not answer in time")),
    }
}

async fn connect(credentials: &Credentials) -> Result<Dialled, DialError> {
    let url = credentials.url();
    let config = tls(credentials)
        .ok_or_else(|| DialError::pair_again("the stored key or certificate can't be used"))?;
    let name = ServerName::try_from(url.host().to_owned())
        .map_err(|_| DialError::pair_again("the stored address is not a host name"))?;
    let stream = TcpStream::connect((url.host(), url.port()))
        .await
        .map_err(|error| DialError::wait(format!("the relay can't be reached: {error}")))?;
    stream.set_nodelay(true).map_err(|error| DialError::wait(error.to_string()))?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|error| from_io(&error))?;
    let exporter = stream
        .get_ref()
        .1
        .export_keying_material([0; EXPORTER_BYTES], EXPORTER_LABEL, None)
        .map_err(|error| DialError::wait(error.to_string()))?;
    let uri = format!("wss://{}{RELAY_PATH}", url.authority());
    let uri = uri.parse().map_err(|_| DialError::pair_again("the stored address is unusable"))?;
    let request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
    let limits = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(MAX_WRITE_BUFFER_BYTES)
        .max_message_size(Some(MAX_FRAME_BYTES))
        .max_frame_size(Some(MAX_FRAME_BYTES));
    let (socket, _) = Box::pin(client_async_with_config(request, stream, Some(limits)))
        .await
        .map_err(|error| from_websocket(&error))?;
    Ok(Dialled { socket, exporter })
}

fn tls(credentials: &Credentials) -> Option<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(credentials.ca_pem.as_bytes()).ok()?).ok()?;
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(credentials.certificate_pem.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(credentials.key_pem.as_bytes()).ok()?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .ok()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain.ok()?, key)
        .ok()?;
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Some(config)
}

/// Reads an error of the transport: a certificate that is refused, by either side, or less.
pub(super) fn from_io(error: &io::Error) -> DialError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::AlertReceived(alert)) if is_about_certificate(*alert) => {
            DialError::pair_again(format!("the relay refused the certificate ({alert:?})"))
        }
        Some(rustls::Error::InvalidCertificate(why)) => DialError::pair_again(format!(
            "the relay's own certificate is not of the CA recorded at pairing ({why:?})"
        )),
        _ => DialError::wait(format!("the connection failed: {error}")),
    }
}

pub(super) fn from_websocket(error: &tungstenite::Error) -> DialError {
    if let tungstenite::Error::Io(error) = error {
        return from_io(error);
    }
    if let tungstenite::Error::Http(response) = error {
        let status = response.status();
        let reason = format!("the relay answered {status}");
        return match status.as_u16() {
            401 | 403 => DialError::pair_again(reason),
            _ => DialError::wait(reason),
        };
    }
    DialError::wait(Untrusted::new(&error.to_string()).to_string())
}

fn is_about_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied
    )
}
