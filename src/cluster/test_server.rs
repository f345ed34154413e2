//! A server on 127.0.0.1 that answers as a test wants, over TCP and TLS, and the kubeconfig that leads to it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::{ClusterError, ConnectOptions, Live};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    /// Without the `?`; empty if there is none.
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) http2: bool,
}

pub(super) type Reply = Response<Full<Bytes>>;
type Answer = dyn Fn(&Asked) -> Reply + Send + Sync;

/// An authority and the certificates that it signs.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

/// A certificate with its key, in PEM.
pub(super) struct Identity {
    pub(super) certificate: Certificate,
    pub(super) key: KeyPair,
}

impl Authority {
    pub(super) fn new() -> Self {
        Self::named("kubernetes")
    }

    pub(super) fn named(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(parameters, key), certificate }
    }

    /// For 127.0.0.1, valid from 2020 up to the given year.
    pub(super) fn sign(&self, last_year: i32) -> Identity {
        let mut parameters = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(last_year, 12, 31);
        let key = KeyPair::generate().unwrap();
        Identity { certificate: parameters.signed_by(&key, &self.issuer).unwrap(), key }
    }

    pub(super) fn pem(&self) -> String {
        self.certificate.pem()
    }
}

/// The server; it ends when it is dropped.
pub(super) struct TestServer {
    pub(super) address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
    folder: TempDir,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TestServer {
    /// Plain HTTP.
    pub(super) async fn http(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(None, Arc::new(answer)).await
    }

    /// HTTPS with HTTP/2 offered, as the API server does.
    pub(super) async fn https(
        identity: &Identity,
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let key = PrivateKeyDer::try_from(identity.key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![identity.certificate.der().clone()], key)
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self::start(Some(TlsAcceptor::from(Arc::new(tls))), Arc::new(answer)).await
    }

    async fn start(tls: Option<TlsAcceptor>, answer: Arc<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let address = format!("{scheme}://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let record = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (tls, answer, record) = (tls.clone(), Arc::clone(&answer), Arc::clone(&record));
                tokio::spawn(async move {
                    let service = TowerToHyperService::new(tower::service_fn(move |request| {
                        respond(request, Arc::clone(&answer), Arc::clone(&record))
                    }));
                    let builder = Builder::new(TokioExecutor::new());
                    // What a client does to its connection is not the server's concern.
                    match tls {
                        None => drop(builder.serve_connection(TokioIo::new(tcp), service).await),
                        Some(tls) => {
                            if let Ok(tls) = tls.accept(tcp).await {
                                drop(builder.serve_connection(TokioIo::new(tls), service).await);
                            }
                        }
                    }
                });
            }
        });
        Self { address, asked, task, folder: TempDir::new().unwrap() }
    }

    /// What was asked so far, but for the two requests of the first contact.
    pub(super) fn asked(&self) -> Vec<Asked> {
        let first = ["/version", "/api/v1/namespaces/kube-system"];
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| !first.contains(&asked.path.as_str())).cloned().collect()
    }

    /// Writes a kubeconfig whose one context `test` leads here.
    pub(super) fn kubeconfig(&self, authority: Option<&Authority>, user: &Value) -> PathBuf {
        let mut cluster = json!({ "server": self.address });
        if let Some(authority) = authority {
            cluster["certificate-authority-data"] = STANDARD.encode(authority.pem()).into();
        }
        let path = self.folder.path().join("kubeconfig");
        std::fs::write(&path, kubeconfig(&cluster, user).to_string()).unwrap();
        path
    }

    /// Connects over plain HTTP.
    pub(super) async fn connect(&self) -> Result<Live, ClusterError> {
        connect(self.kubeconfig(None, &json!({}))).await
    }
}

pub(super) async fn connect(kubeconfig: PathBuf) -> Result<Live, ClusterError> {
    Live::connect(&ConnectOptions { kubeconfig: Some(kubeconfig), context: None }).await
}

pub(super) fn kubeconfig(cluster: &Value, user: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "c", "cluster": cluster }],
        "users": [{ "name": "u", "user": user }],
        "contexts": [{ "name": "test", "context": { "cluster": "c", "user": "u" } }],
        "current-context": "test",
    })
}

async fn respond(
    request: Request<Incoming>,
    answer: Arc<Answer>,
    record: Arc<Mutex<Vec<Asked>>>,
) -> Result<Reply, hyper::Error> {
    let (head, body) = request.into_parts();
    let asked = Asked {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body: body.collect().await?.to_bytes(),
        http2: head.version == http::Version::HTTP_2,
    };
    record.lock().unwrap().push(asked.clone());
    Ok(answer(&asked))
}

/// The first contact's two answers, and what `more` says to the rest.
pub(super) fn cluster(
    more: impl Fn(&Asked) -> Reply + Send + Sync,
) -> impl Fn(&Asked) -> Reply + Send + Sync {
    move |asked| match asked.path.as_str() {
        "/version" => reply(200, &json!({ "gitVersion": "v1.34.4" })),
        "/api/v1/namespaces/kube-system" => reply(200, &json!({ "metadata": { "uid": "u-1" } })),
        _ => more(asked),
    }
}

pub(super) fn reply(status: u16, body: &Value) -> Reply {
    text(status, &body.to_string())
}

pub(super) fn text(status: u16, body: &str) -> Reply {
    Response::builder().status(status).body(Full::from(body.as_bytes().to_vec())).unwrap()
}

/// A refusal as the API server gives it.
pub(super) fn refusal(code: u16, reason: &str, message: &str) -> Reply {
    reply(
        code,
        &json!({ "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message }),
    )
}
