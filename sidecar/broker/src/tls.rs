//! TLS towards the gateway: one configuration for reads and effects.
//!
//! TLS 1.2 stays enabled, since the gateway speaks nothing newer. Its own certificate is expired
//! and names no host, so it is accepted by its fingerprint or, on loopback only, unchecked; the
//! handshake's signature is checked in both cases.

use crate::ConnectError;
use crate::config::TlsPolicy;
use core::fmt;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::path::Path;
use std::sync::Arc;

/// The client configuration for a policy.
pub(crate) fn client_config(policy: &TlsPolicy) -> Result<ClientConfig, ConnectError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| client(&error))?;
    let verifier: Arc<dyn ServerCertVerifier> = match policy {
        TlsPolicy::SystemRoots => Arc::new(
            rustls_platform_verifier::Verifier::new(provider).map_err(|error| client(&error))?,
        ),
        TlsPolicy::CaFile(path) => {
            let mut config = builder.with_root_certificates(roots(path)?).with_no_client_auth();
            config.alpn_protocols = alpn();
            return Ok(config);
        }
        TlsPolicy::PinSha256(pin) => Arc::new(Leaf { pin: Some(*pin), provider }),
        TlsPolicy::AcceptInvalidOnLoopback => Arc::new(Leaf { pin: None, provider }),
    };
    let mut config =
        builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = alpn();
    Ok(config)
}

fn alpn() -> Vec<Vec<u8>> {
    vec![b"http/1.1".to_vec()]
}

fn client(error: &Error) -> ConnectError {
    ConnectError::Client { why: error.to_string() }
}

fn roots(path: &Path) -> Result<RootCertStore, ConnectError> {
    let unusable = |why| ConnectError::CaFile { path: path.display().to_string(), why };
    let mut store = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|_| unusable("can't be read"))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|_| unusable("not PEM"))?;
        store
            .add(certificate)
            .map_err(|_| unusable("holds something that is no certificate authority"))?;
    }
    if store.is_empty() {
        return Err(unusable("holds no certificate"));
    }
    Ok(store)
}

/// Judges the leaf certificate alone: by its SHA-256, or not at all.
struct Leaf {
    pin: Option<[u8; 32]>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pinned = self.pin.is_some();
        f.debug_struct("Leaf").field("pinned", &pinned).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Leaf {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = ibkr_agent_domain::Digest::of(end_entity);
        match self.pin {
            Some(pin) if pin != *found.as_bytes() => {
                Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
            Some(_) | None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
