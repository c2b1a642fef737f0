//! The object store: each promise is checked on a real S3 server and on a folder, by the same body.

pub mod site;

use std::time::Duration;

use reqwest::StatusCode;
use roost::objects::{ObjectError, PageToken, Part, Verb};

use site::{PART, Site, body, broken, key, noise, read, sum};

const MINUTE: Duration = Duration::from_mins(1);

/// Runs one body on both stores.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod in_a_bucket {
            $(#[tokio::test]
            async fn $name() {
                if let Some(site) = super::site::s3(concat!("objects::in_a_bucket::", stringify!($name))).await {
                    super::$name(site).await;
                }
            })*
        }
        mod in_a_folder {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::site::folder().await).await;
            })*
        }
    };
}

on_both!(
    what_was_put_can_be_got_from_any_offset,
    a_put_that_breaks_off_leaves_nothing_and_spoils_nothing,
    what_is_missing_is_said_to_be_missing,
    lists_come_in_pages_and_in_order,
    an_address_is_good_for_one_verb_and_one_object,
    somebody_else_uploads_in_parts,
    an_upload_that_was_given_up_cannot_be_finished,
    a_stranger_s_address_is_refused,
    numbers_and_times_have_bounds,
);

async fn what_was_put_can_be_got_from_any_offset(site: Site) {
    let store = &*site.store;
    for length in [0, 1, 100_003, PART, PART + 1, 3 * PART + 77] {
        let (name, bytes) = (key(&format!("sizes/{length}")), noise(length));
        let stored = store.put(&name, body(&bytes)).await.unwrap();
        assert_eq!((stored.bytes, stored.sha256.to_string()), (length as u64, sum(&bytes)));
        assert_eq!(store.head(&name).await.unwrap(), length as u64);
        for from in [0, length / 2, length] {
            assert!(read(store, &name, from as u64).await.unwrap() == bytes[from..], "{length} from {from}");
        }
        let past = store.get(&name, length as u64 + 1).await;
        assert!(matches!(past, Err(ObjectError::PastTheEnd { .. })), "{:?}", past.err());
    }
    let again = noise(10);
    store.put(&key("sizes/1"), body(&again)).await.unwrap();
    assert_eq!(read(store, &key("sizes/1"), 0).await.unwrap(), again, "an object is replaced as a whole");
}

async fn a_put_that_breaks_off_leaves_nothing_and_spoils_nothing(site: Site) {
    let store = &*site.store;
    for length in [1_000, 2 * PART + 5] {
        let refused = store.put(&key("broken"), broken(&noise(length))).await.unwrap_err();
        assert!(matches!(refused, ObjectError::Body(_)) && refused.retryable(), "{refused:?}");
        assert!(matches!(store.head(&key("broken")).await, Err(ObjectError::Missing(_))));
    }
    store.put(&key("kept"), body(b"before")).await.unwrap();
    store.put(&key("kept"), broken(&noise(2 * PART))).await.unwrap_err();
    assert_eq!(read(store, &key("kept"), 0).await.unwrap(), b"before");
    let page = store.list(&"".parse().unwrap(), None, 10).await.unwrap();
    assert_eq!(page.objects.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(), ["kept"]);
}

async fn what_is_missing_is_said_to_be_missing(site: Site) {
    let store = &*site.store;
    for name in ["nothing", "no/folder/either"].map(key) {
        assert!(matches!(store.get(&name, 0).await.err(), Some(ObjectError::Missing(missing)) if missing == name));
        assert!(matches!(store.get(&name, 5).await.err(), Some(ObjectError::Missing(_))));
        assert!(matches!(store.head(&name).await, Err(ObjectError::Missing(_))));
        store.delete(&name).await.unwrap();
        let url = store.sign(Verb::Get, &name, MINUTE).await.unwrap();
        assert_eq!(reqwest::get(url).await.unwrap().status(), StatusCode::NOT_FOUND);
    }
    let page = store.list(&"no/".parse().unwrap(), None, 10).await.unwrap();
    assert_eq!((page.objects.len(), page.next), (0, None));
    store.put(&key("here"), body(b"x")).await.unwrap();
    store.delete(&key("here")).await.unwrap();
    assert!(matches!(store.head(&key("here")).await, Err(ObjectError::Missing(_))));
}

async fn lists_come_in_pages_and_in_order(site: Site) {
    let store = &*site.store;
    let mut names: Vec<String> = (0..7).map(|n| format!("backups/a/{n}.tar")).collect();
    names.extend(["backups/a-b/0", "backups/a.b", "backups/b/0", "templates/x/1"].map(str::to_owned));
    for name in &names {
        store.put(&key(name), body(name.as_bytes())).await.unwrap();
    }
    names.sort();
    for prefix in ["", "backups/", "backups/a", "backups/a/", "backups/a/3", "none"] {
        let wanted: Vec<_> = names.iter().filter(|name| name.starts_with(prefix)).cloned().collect();
        for limit in [1, 3, 100] {
            let (mut found, mut next): (Vec<String>, Option<PageToken>) = (Vec::new(), None);
            loop {
                let page = store.list(&prefix.parse().unwrap(), next.as_ref(), limit).await.unwrap();
                assert!(
                    page.objects.len() <= usize::from(limit) && page.objects.iter().all(|one| one.bytes == one.key.as_str().len() as u64)
                );
                found.extend(page.objects.iter().map(|one| one.key.to_string()));
                next = page.next;
                if next.is_none() {
                    break;
                }
            }
            assert_eq!(found, wanted, "{prefix:?} by {limit}");
        }
    }
}

async fn an_address_is_good_for_one_verb_and_one_object(site: Site) {
    let (store, client, bytes) = (&*site.store, reqwest::Client::new(), noise(300_000));
    let put = store.sign(Verb::Put, &key("a/one"), MINUTE).await.unwrap();
    let answer = client.put(&put).body(bytes.clone()).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{:?}", answer.text().await);
    assert!(read(store, &key("a/one"), 0).await.unwrap() == bytes);

    let get = store.sign(Verb::Get, &key("a/one"), MINUTE).await.unwrap();
    let answer = client.get(&get).send().await.unwrap();
    assert_eq!((answer.status(), answer.content_length()), (StatusCode::OK, Some(300_000)));
    assert!(answer.bytes().await.unwrap() == bytes);
    let rest = client.get(&get).header("range", "bytes=299990-").send().await.unwrap();
    assert_eq!(
        (rest.status(), rest.headers()["content-range"].to_str().unwrap()),
        (StatusCode::PARTIAL_CONTENT, "bytes 299990-299999/300000")
    );
    assert_eq!(rest.bytes().await.unwrap(), bytes[299_990..]);

    let past = client.get(&get).header("range", "bytes=300000-").send().await.unwrap();
    assert_eq!(past.status(), StatusCode::RANGE_NOT_SATISFIABLE);

    store.put(&key("a/two"), body(b"two")).await.unwrap();
    for (method, address) in [
        (reqwest::Method::PUT, get.clone()),
        (reqwest::Method::GET, put.clone()),
        (reqwest::Method::GET, get.replace("a/one", "a/two")),
        (reqwest::Method::GET, get.split('?').next().unwrap().to_owned()),
    ] {
        let answer = client.request(method, &address).body("changed").send().await.unwrap();
        assert!(answer.status().is_client_error(), "{address}: {}", answer.status());
    }
    assert!(read(store, &key("a/one"), 0).await.unwrap() == bytes);
}

async fn put_part(client: &reqwest::Client, address: &str, bytes: Vec<u8>) -> String {
    let answer = client.put(address).body(bytes).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    answer.headers()["etag"].to_str().unwrap().to_owned()
}

async fn somebody_else_uploads_in_parts(site: Site) {
    let (store, client, name, bytes) = (&*site.store, reqwest::Client::new(), key("backups/a/1.tar.zst"), noise(2 * PART + 9));
    let upload = store.begin_upload(&name).await.unwrap();
    let mut parts = Vec::new();
    for (number, chunk) in (1..).zip(bytes.chunks(PART)) {
        let address = store.sign_part(&name, &upload, number, MINUTE).await.unwrap();
        if number == 1 {
            put_part(&client, &address, b"what came first is replaced".to_vec()).await;
        }
        parts.push(Part { number, etag: put_part(&client, &address, chunk.to_vec()).await });
    }
    assert!(matches!(store.head(&name).await, Err(ObjectError::Missing(_))), "nothing can be read before the end");
    parts.reverse();
    store.finish_upload(&name, &upload, &parts).await.unwrap();
    assert!(read(store, &name, 0).await.unwrap() == bytes);
}

async fn an_upload_that_was_given_up_cannot_be_finished(site: Site) {
    let (store, client, name) = (&*site.store, reqwest::Client::new(), key("given-up"));
    let upload = store.begin_upload(&name).await.unwrap();
    let address = store.sign_part(&name, &upload, 1, MINUTE).await.unwrap();
    let etag = put_part(&client, &address, b"part".to_vec()).await;
    store.abort_upload(&name, &upload).await.unwrap();
    // The S3 server of the tests says "access denied" where S3 says that there is no such upload.
    let again = store.abort_upload(&name, &upload).await;
    assert!(matches!(again, Ok(()) | Err(ObjectError::Refused(_))), "{again:?}");
    let refused = store.finish_upload(&name, &upload, &[Part { number: 1, etag }]).await.unwrap_err();
    assert!(!matches!(refused, ObjectError::Away(_)), "{refused:?}");
    let answer = client.put(&address).body("late").send().await.unwrap();
    assert!(answer.status().is_client_error(), "{}", answer.status());
    assert!(matches!(store.head(&name).await, Err(ObjectError::Missing(_))));
}

async fn a_stranger_s_address_is_refused(site: Site) {
    site.store.put(&key("secret"), body(b"of ours")).await.unwrap();
    for (verb, name) in [(Verb::Get, "secret"), (Verb::Put, "secret"), (Verb::Get, "missing")] {
        let address = site.stranger.sign(verb, &key(name), MINUTE).await.unwrap();
        let client = reqwest::Client::new();
        let request = if verb == Verb::Get { client.get(&address) } else { client.put(&address).body("theirs") };
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{address}");
        assert!(!answer.text().await.unwrap().contains("of ours"));
    }
    assert_eq!(read(&*site.store, &key("secret"), 0).await.unwrap(), b"of ours");
}

async fn numbers_and_times_have_bounds(site: Site) {
    let (store, name) = (&*site.store, key("a"));
    let upload = store.begin_upload(&name).await.unwrap();
    for number in [0, 10_001] {
        let refused = store.sign_part(&name, &upload, number, MINUTE).await.unwrap_err();
        assert!(matches!(refused, ObjectError::OutOfRange(_)), "{refused:?}");
    }
    for lasts in [Duration::ZERO, Duration::from_hours(7 * 24 + 1)] {
        let refused = store.sign(Verb::Get, &name, lasts).await.unwrap_err();
        assert!(matches!(refused, ObjectError::OutOfRange(_)), "{refused:?}");
    }
    store.abort_upload(&name, &upload).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_is_cut_costs_nothing_but_time() {
    let Some(site) = site::s3("objects::a_connection_that_is_cut_costs_nothing_but_time").await else { return };
    let (store, wire, bytes) = (&*site.store, site.wire.as_ref().unwrap(), noise(4 * PART));
    wire.cut_up_after(7 << 20);
    let stored = store.put(&key("cut"), body(&bytes)).await.unwrap();
    assert_eq!((stored.sha256.to_string(), wire.cuts()), (sum(&bytes), 1), "one part was cut and sent again");
    wire.cut_down_after(9 << 20);
    assert_eq!(sum(&read(store, &key("cut"), 0).await.unwrap()), sum(&bytes));
    assert_eq!(wire.cuts(), 2, "the download was cut and taken up again");
    wire.cut_down_after(1 << 20);
    assert_eq!(sum(&read(store, &key("cut"), 1_234_567).await.unwrap()), sum(&bytes[1_234_567..]));
    assert_eq!(wire.cuts(), 3);
}

#[tokio::test]
async fn a_wrong_secret_and_a_bucket_that_is_not_there_are_said_in_words() {
    let Some(site) = site::s3("objects::a_wrong_secret_and_a_bucket_that_is_not_there_are_said_in_words").await else { return };
    for result in [
        site.stranger.put(&key("a"), body(b"x")).await.map(drop),
        site.stranger.get(&key("a"), 0).await.map(drop),
        site.stranger.head(&key("a")).await.map(drop),
        site.stranger.list(&"".parse().unwrap(), None, 1).await.map(drop),
        site.stranger.begin_upload(&key("a")).await.map(drop),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, ObjectError::Refused(_)) && !error.retryable(), "{error:?}");
        assert!(error.to_string().contains("AWS_SECRET_ACCESS_KEY") && !format!("{error:?}").contains("wrong"), "{error:?}");
    }
    std::fs::remove_dir_all(site::s3_files(site.folder.path())).unwrap();
    let error = site.store.list(&"".parse().unwrap(), None, 1).await.unwrap_err();
    assert!(matches!(error, ObjectError::NoBucket(_)), "{error:?}");
}

/// Asks again until the address has expired, and gives the answer.
async fn when_expired(address: &str) -> StatusCode {
    let expired = async {
        loop {
            let status = reqwest::get(address).await.unwrap().status();
            if status != StatusCode::OK {
                return status;
            }
        }
    };
    tokio::time::timeout(site::PATIENCE, expired).await.expect("it expires")
}

#[tokio::test]
async fn an_address_expires() {
    let folder = site::folder_at(61_000).await;
    folder.store.put(&key("a"), body(b"x")).await.unwrap();
    let address = folder.store.sign(Verb::Get, &key("a"), MINUTE).await.unwrap();
    assert_eq!(reqwest::get(&address).await.unwrap().status(), StatusCode::FORBIDDEN);

    let Some(site) = site::s3("objects::an_address_expires").await else { return };
    site.store.put(&key("a"), body(b"x")).await.unwrap();
    let address = site.store.sign(Verb::Get, &key("a"), Duration::from_secs(1)).await.unwrap();
    assert_eq!(when_expired(&address).await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_folder_follows_no_link_and_hides_what_is_on_its_way() {
    let site = site::folder().await;
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("file"), "outside").unwrap();
    std::os::unix::fs::symlink(outside.path(), site.folder.path().join("link")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("file"), site.folder.path().join("file")).unwrap();
    for name in ["link/file", "link/new", "file"].map(key) {
        assert!(matches!(site.store.get(&name, 0).await.err(), Some(ObjectError::Failed { .. })), "{name}");
        assert!(site.store.put(&name, body(b"x")).await.is_err(), "{name}");
        assert!(site.store.delete(&name).await.is_err(), "{name}");
    }
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(std::fs::read(outside.path().join("file")).unwrap(), b"outside");
    site.store.begin_upload(&key("a")).await.unwrap();
    let page = site.store.list(&"".parse().unwrap(), None, 10).await.unwrap();
    assert_eq!(page.objects, []);
}

#[tokio::test]
async fn an_object_is_given_as_a_file_to_keep_and_never_as_a_page() {
    let site = site::folder().await;
    site.store.put(&key("page.html"), body(b"<script>alert(1)</script>")).await.unwrap();
    let answer = reqwest::get(site.store.sign(Verb::Get, &key("page.html"), MINUTE).await.unwrap()).await.unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap();
    assert_eq!((header("content-type"), header("content-disposition")), ("application/octet-stream", "attachment"));
    assert_eq!((header("x-content-type-options"), header("content-security-policy")), ("nosniff", "sandbox; default-src 'none'"));
}
