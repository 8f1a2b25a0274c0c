//! A Prometheus behind TLS and a login, played by a server of this test: what a real one would need beside it is the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use msars_observe::{Access, Client, Timeouts};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const NOTHING: &str = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;

/// The heads of the requests that came.
type Heads = Arc<Mutex<Vec<String>>>;

/// Its address, its certificate as PEM and what it heard.
async fn server() -> (String, String, Heads) {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (pem, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads = Heads::default();
    let heard = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut head = vec![0; 16 << 10];
            let read = stream.read(&mut head).await.unwrap();
            let head = String::from_utf8_lossy(&head[..read]).to_lowercase();
            heard.lock().unwrap().push(head);
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{NOTHING}",
                NOTHING.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            let _ = stream.shutdown().await;
        }
    });
    (format!("https://localhost:{port}"), pem, heads)
}

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn now() -> Timestamp {
    Timestamp::from_second(1_769_000_000).unwrap()
}

async fn asked(url: &str, access: Access) -> Result<(), &'static str> {
    let client = Client::new(url, access, Timeouts::default()).map_err(|e| e.category())?;
    let answer = client.query("up", now()).await;
    answer.map(|_| ()).map_err(|e| e.category())
}

#[tokio::test]
async fn an_own_authority_is_trusted_and_the_token_of_now_is_brought() {
    let folder = tempfile::tempdir().unwrap();
    let (url, pem, heads) = server().await;
    let access = Access {
        authorities: Some(written(folder.path(), "ca.crt", &pem)),
        token: Some(written(folder.path(), "token", "First\n")),
    };
    let client = Client::new(&url, access, Timeouts::default()).unwrap();
    client.query("up", now()).await.unwrap();
    written(folder.path(), "token", "Second");
    client.query("up", now()).await.unwrap();
    let heads = heads.lock().unwrap().clone();
    for (head, token) in heads.iter().zip(["first", "second"]) {
        let wanted = format!("authorization: bearer {token}\r\n");
        assert!(head.contains(&wanted), "{token}: {head}");
    }
    assert_eq!(heads.len(), 2);
}

#[tokio::test]
async fn what_is_not_trusted_or_not_there_has_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let (url, pem, heads) = server().await;
    let (_, stranger, _) = server().await;
    let good = Some(written(folder.path(), "ca.crt", &pem));
    let stranger = Some(written(folder.path(), "stranger.crt", &stranger));
    let none = Some(written(folder.path(), "none.crt", "no certificate"));
    let missing = Some(folder.path().join("missing"));
    let empty = Some(written(folder.path(), "empty", " \n"));
    let plain = "http://127.0.0.1:1".to_owned();
    for (what, url, authorities, token, wanted) in [
        ("no login", &url, &good, &None, Ok(())),
        (
            "a stranger",
            &url,
            &stranger,
            &None,
            Err("PrometheusUnreachable"),
        ),
        (
            "no authority",
            &url,
            &None,
            &None,
            Err("InvalidPrometheusAddress"),
        ),
        (
            "no certificate",
            &url,
            &none,
            &None,
            Err("InvalidPrometheusAddress"),
        ),
        (
            "no such file",
            &url,
            &missing,
            &None,
            Err("InvalidPrometheusAddress"),
        ),
        (
            "no such token",
            &url,
            &good,
            &missing,
            Err("PrometheusToken"),
        ),
        (
            "an empty token",
            &url,
            &good,
            &empty,
            Err("PrometheusToken"),
        ),
        (
            "a token for all to read",
            &plain,
            &None,
            &empty,
            Err("InvalidPrometheusAddress"),
        ),
    ] {
        let access = Access {
            authorities: authorities.clone(),
            token: token.clone(),
        };
        assert_eq!(asked(url, access).await, wanted, "{what}");
    }
    assert_eq!(heads.lock().unwrap().len(), 1, "only the first one asked");
}
