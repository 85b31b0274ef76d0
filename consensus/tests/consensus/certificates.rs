//! A throw-away authority and one certificate a node.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use consensus::{NodeId, RaftTls};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

const NAME: &str = "control.test.marchproxy";

/// Issues certificates and knows which node each one names.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    issued: Arc<Mutex<HashMap<Vec<u8>, NodeId>>>,
    refused: Arc<Mutex<HashSet<NodeId>>>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, issued: Arc::default(), refused: Arc::default() }
    }

    /// Makes every member refuse a node from here on.
    pub(crate) fn refuse(&self, node: NodeId) {
        self.refused.lock().unwrap().insert(node);
    }

    pub(crate) fn tls(&self, node: NodeId) -> RaftTls {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        self.issued.lock().unwrap().insert(certificate.to_vec(), node);
        let chain = vec![certificate];
        let key = || PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let roots = Arc::new(roots);
        let provider = Arc::new(default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .unwrap();
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key())
            .unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key())
            .unwrap();
        let (issued, refused) = (self.issued.clone(), self.refused.clone());
        RaftTls {
            server: Arc::new(server),
            client: Arc::new(client),
            server_name: NAME.to_owned(),
            peer_check: Arc::new(move |chain: &[CertificateDer<'_>]| {
                let issued = issued.lock().unwrap();
                let leaf = chain.first().ok_or("no certificate")?;
                issued.get(leaf.as_ref()).copied().ok_or_else(|| "an unknown node".to_owned())
            }),
            node_check: Arc::new(move |node| match refused.lock().unwrap().contains(&node) {
                true => Err(format!("node {node} is out")),
                false => Ok(()),
            }),
        }
    }
}
