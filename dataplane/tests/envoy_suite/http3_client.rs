//! A client that speaks HTTP/3: one connection, any host.

use std::{net::Ipv4Addr, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};
use http::Request;
use quinn::{Endpoint, crypto::rustls::QuicClientConfig};
use rustls::pki_types::CertificateDer;
use tokio::task::JoinHandle;

use crate::{certificates::TlsClient, client::Answer};

pub(crate) struct Http3 {
    requests: h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>,
    driver: JoinHandle<()>,
    /// What the server showed.
    pub(crate) certificate: CertificateDer<'static>,
    _endpoint: Endpoint,
}

impl Drop for Http3 {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// The server takes no further requests on this connection: another one is to be opened.
    Closing,
    /// The request was on its way.
    Lost(String),
}

impl Http3 {
    pub(crate) async fn connect(tls: &TlsClient, port: u16, name: &str) -> Result<Self, String> {
        let mut config = tls.config();
        config.alpn_protocols = vec![b"h3".to_vec()];
        let config = QuicClientConfig::try_from(config).map_err(|error| error.to_string())?;
        let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(config)));
        let connecting = endpoint.connect((Ipv4Addr::LOCALHOST, port).into(), name).unwrap();
        let connection = connecting.await.map_err(|error| error.to_string())?;
        let shown = connection.peer_identity().expect("a handshake that is over");
        let shown = shown.downcast::<Vec<CertificateDer<'static>>>().expect("certificates");
        let over = h3_quinn::Connection::new(connection);
        let opened = h3::client::new(over).await.map_err(|error| error.to_string())?;
        let (mut driver, requests) = opened;
        let driver = tokio::spawn(async move {
            driver.wait_idle().await;
        });
        Ok(Self { requests, driver, certificate: shown[0].clone(), _endpoint: endpoint })
    }

    pub(crate) async fn get(&mut self, host: &str, path: &str) -> Result<Answer, Unanswered> {
        let request = Request::get(format!("https://{host}{path}")).body(()).unwrap();
        let sent = self.requests.send_request(request).await;
        let mut stream = sent.map_err(|_| Unanswered::Closing)?;
        let lost = |error: h3::error::StreamError| Unanswered::Lost(error.to_string());
        stream.finish().await.map_err(lost)?;
        let (head, ()) = stream.recv_response().await.map_err(lost)?.into_parts();
        let mut body = BytesMut::new();
        while let Some(mut chunk) = stream.recv_data().await.map_err(lost)? {
            body.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
        }
        Ok(Answer { status: head.status, headers: head.headers, body: body.freeze() })
    }
}
