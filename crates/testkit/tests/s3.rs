//! The object store: what is put there is a file, and each fault is what a client sees of it.

use std::time::{Duration, Instant};

use csm_testkit::s3::{Credentials, Fault, Object, Store, server};
use reqwest::{Client, StatusCode};
use tokio::net::TcpListener;

const BUCKET: &str = "orders";
const SOON: Duration = Duration::from_secs(30);

/// A store with one bucket, and a server of it.
struct Served {
    store: Store,
    endpoint: String,
    client: Client,
    _dir: tempfile::TempDir,
}

impl Served {
    async fn new(credentials: Option<Credentials>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.create(BUCKET).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let served = store.clone();
        // It ends with the test's runtime.
        tokio::spawn(async move { server::serve(served, listener, credentials.as_ref()).await.unwrap() });
        Self {
            store,
            endpoint,
            // Each call on a connection of its own: one that was closed is nobody else's.
            client: Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap(),
            _dir: dir,
        }
    }

    async fn put(&self, key: &str, content: &'static str) -> reqwest::Result<(StatusCode, String)> {
        let call = self.client.put(format!("{}/{BUCKET}/{key}", self.endpoint)).body(content);
        let answer = call.send().await?;
        Ok((answer.status(), answer.text().await?))
    }
}

fn object(key: &str, size: u64) -> Object {
    Object { key: key.to_owned(), size }
}

#[tokio::test]
async fn what_is_put_is_a_file_and_comes_back() {
    let served = Served::new(None).await;
    for (key, content) in [("a/wals/1", "one"), ("a/wals/2", "second"), ("b", "")] {
        assert_eq!(served.put(key, content).await.unwrap().0, StatusCode::OK);
    }
    let there = [object("a/wals/1", 3), object("a/wals/2", 6), object("b", 0)];
    assert_eq!(served.store.objects(BUCKET).unwrap(), there);
    let answer = served.client.get(format!("{}/{BUCKET}/a/wals/2", served.endpoint));
    assert_eq!(answer.send().await.unwrap().text().await.unwrap(), "second");
    assert_eq!(served.store.list().unwrap(), [BUCKET]);

    served.store.remove(BUCKET).unwrap();
    served.store.remove(BUCKET).unwrap();
    assert!(served.store.list().unwrap().is_empty());
    let (status, text) = served.put("c", "late").await.unwrap();
    assert!(status == StatusCode::NOT_FOUND && text.contains("NoSuchBucket"), "{status} {text}");
}

#[tokio::test]
async fn a_bucket_that_is_not_well_refuses_and_is_well_again() {
    let served = Served::new(None).await;
    let refusals = [
        (Fault::AccessDenied, StatusCode::FORBIDDEN, "AccessDenied"),
        (Fault::NoSuchBucket, StatusCode::NOT_FOUND, "NoSuchBucket"),
        (Fault::InternalError, StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
    ];
    for (fault, status, code) in refusals {
        served.store.set(BUCKET, fault).unwrap();
        let (told, text) = served.put("x", "refused").await.unwrap();
        assert!(told == status && text.contains(&format!("<Code>{code}</Code>")), "{told} {text}");
        // Nor can the bucket be asked about, or made.
        let head = served.client.head(format!("{}/{BUCKET}", served.endpoint)).send().await.unwrap();
        assert_eq!(head.status(), status);
        let make = served.client.put(format!("{}/{BUCKET}", served.endpoint)).send().await.unwrap();
        assert_eq!(make.status(), status);
    }
    served.store.set(BUCKET, Fault::Cut).unwrap();
    let cut = served.put("x", "cut").await.unwrap_err();
    assert!(cut.is_request(), "{cut:?}");
    assert!(served.store.objects(BUCKET).unwrap().is_empty());

    // Another bucket's fault is its own.
    served.store.create("others").unwrap();
    served.store.set("others", Fault::Hang).unwrap();
    assert_eq!(served.store.clear_all().unwrap().len(), 2);
    served.store.set("others", Fault::Hang).unwrap();
    assert_eq!(served.put("x", "well").await.unwrap().0, StatusCode::OK);
    assert_eq!(served.store.objects(BUCKET).unwrap(), [object("x", 4)]);
}

#[tokio::test]
async fn a_call_that_hangs_ends_with_the_fault_and_a_slow_one_takes_its_time() {
    let served = Served::new(None).await;
    served.store.set(BUCKET, Fault::Hang).unwrap();
    let mut hangs = std::pin::pin!(served.put("x", "at last"));
    // Calls about something else are not held up, and are done long before one that began earlier.
    for _ in 0..10 {
        tokio::select! {
            done = &mut hangs => panic!("it did not hang: {done:?}"),
            other = served.client.get(&served.endpoint).send() => assert_eq!(other.unwrap().status(), StatusCode::OK),
        }
    }
    assert!(served.store.objects(BUCKET).unwrap().is_empty());
    served.store.clear(BUCKET).unwrap();
    let (status, _) = tokio::time::timeout(SOON, hangs).await.unwrap().unwrap();
    assert_eq!(status, StatusCode::OK);

    let delay = Duration::from_millis(120);
    served.store.set(BUCKET, Fault::Slow { millis: 120 }).unwrap();
    let begin = Instant::now();
    assert_eq!(served.put("y", "slow").await.unwrap().0, StatusCode::OK);
    assert!(begin.elapsed() >= delay);
    assert_eq!(served.store.objects(BUCKET).unwrap(), [object("x", 7), object("y", 4)]);
}

#[tokio::test]
async fn who_has_no_credentials_is_refused() {
    let served = Served::new(Some(Credentials::of_the_lab())).await;
    let (status, text) = served.put("x", "anonymous").await.unwrap();
    assert!(status == StatusCode::FORBIDDEN && text.contains("AccessDenied"), "{status} {text}");
    assert!(served.store.objects(BUCKET).unwrap().is_empty());
}

#[test]
fn no_name_leads_out_of_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for name in ["..", "../x", "a/b", "/etc", "", "Big", "a.b"] {
        assert!(store.create(name).is_err(), "{name}");
        assert!(store.remove(name).is_err(), "{name}");
        assert!(store.set(name, Fault::Hang).is_err(), "{name}");
    }
}
