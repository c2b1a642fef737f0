//! Templates: made, uploaded through every check, used, kept while they are in use, taken to another panel.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use roost::domain::templates::{self, Choice, Details, NewVersion};
use roost::domain::{Actor, Refusal, servers};
use roost::model::layers::Changed;
use roost::model::templates::{Template, TemplateVersion};
use roost::model::time::DAY;
use roost::objects::{Body, Prefix};

use crate::world::{World, form, on_both};

/// A tar archive of these files.
pub fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// In pieces of an odd size, as from a network.
pub fn body(bytes: &[u8]) -> Body {
    let pieces: Vec<_> = bytes.chunks(1_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces).boxed()
}

pub fn details(name: &str) -> Details {
    Details { name: name.to_owned(), kind: "master".to_owned(), ..Details::default() }
}

pub async fn made(world: &World, admin: &Actor, name: &str) -> Template {
    templates::create(&world.ctx, admin, &details(name)).await.expect("made")
}

pub async fn upload(world: &World, admin: &Actor, template: &Template, version: &str, files: &[(&str, &str)]) -> TemplateVersion {
    world.clock.pass(1);
    let new = NewVersion { version: version.to_owned(), note: String::new() };
    templates::upload(&world.ctx, admin, &template.id, &new, body(&tar(files))).await.expect("uploaded")
}

async fn objects(world: &World) -> usize {
    let page = world.ctx.objects.list(&Prefix::default(), None, 100).await.expect("listed");
    page.objects.len()
}

fn at(refused: Result<TemplateVersion, Refusal>, field: &str) -> String {
    match refused {
        Err(Refusal::Invalid(fields)) => fields.at(field).unwrap_or_else(|| panic!("{fields:?}")).to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_archive_becomes_a_version_only_when_all_of_it_was_checked() {
    on_both("an_archive_becomes_a_version_only_when_all_of_it_was_checked", |world| async move {
        let admin = world.admin().await;
        let lobby = made(&world, &admin, "Lobby & Hall").await;
        assert_eq!(lobby.id.as_str(), "lobby-hall");
        let version = upload(&world, &admin, &lobby, "1.0", &[("server.properties", "port=${PORT}"), ("world/level.dat", "x")]).await;
        assert_eq!((version.files, version.unpacked), (2, 13));
        let (_, _, manifest, on_it) = templates::version(&world.ctx, &admin, &lobby.id, &version.version).await.expect("there");
        let paths: Vec<&str> = manifest.entries.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!((paths.as_slice(), on_it.len()), (["server.properties", "world", "world/level.dat"].as_slice(), 0));
        let key = version.object_key.parse().expect("a key");
        assert_eq!(world.ctx.objects.head(&key).await.expect("stored"), version.bytes);

        let send = |version: &str, bytes: Vec<u8>| {
            let (ctx, admin, id) = (world.ctx.clone(), admin.clone(), lobby.id.clone());
            let new = NewVersion { version: version.to_owned(), note: String::new() };
            async move { templates::upload(&ctx, &admin, &id, &new, body(&bytes)).await }
        };
        let good = tar(&[("a", "b")]);
        assert!(matches!(send("1.0", good.clone()).await, Err(Refusal::Conflict(why)) if why.contains("versions never change")));
        assert!(at(send("A b", good.clone()).await, "version").contains("a-z"));
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..9].copy_from_slice(b"../passwd");
        header.set_size(0);
        header.set_mode(0o644);
        header.set_cksum();
        let evil = [header.as_bytes().as_slice(), &tar(&[("big", &"y".repeat(2_000_000))])].concat();
        assert!(at(send("1.1", evil).await, "file").starts_with("\"../passwd\" contains"), "the entry is named");
        assert!(at(send("1.1", b"hello, world".repeat(100)).await, "file").contains("not a .tar"));
        let cut = tar(&[("big", &"y".repeat(100_000))]);
        assert!(at(send("1.1", cut[..50_000].to_vec()).await, "file").contains("cut off"));
        let broken: Body = stream::iter([Ok(Bytes::from(good.clone())), Err(std::io::Error::other("gone"))]).boxed();
        let new = NewVersion { version: "1.1".to_owned(), note: String::new() };
        let refused = templates::upload(&world.ctx, &admin, &lobby.id, &new, broken).await;
        assert!(at(refused, "file").contains("broke off"));
        assert_eq!(objects(&world).await, 1, "nothing is left of what was refused");
        let (whole, _) = templates::find(&world.ctx, &admin, &lobby.id).await.expect("there");
        assert_eq!(whole.versions.len(), 1);

        let player = world.player("ada@example.org").await;
        let new = NewVersion { version: "2".to_owned(), note: String::new() };
        let theirs = templates::upload(&world.ctx, &player, &lobby.id, &new, body(&good)).await;
        assert!(matches!(theirs, Err(Refusal::NotFound)), "{theirs:?}");
        assert!(templates::list(&world.ctx, &player).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn an_archive_larger_than_the_panel_takes_is_refused_on_its_way() {
    let policy = roost::domain::Policy { archive_bytes_max: 100_000, ..roost::domain::Policy::default() };
    crate::world::on_both_with("an_archive_larger_than_the_panel_takes_is_refused_on_its_way", policy, |world| async move {
        let admin = world.admin().await;
        let lobby = made(&world, &admin, "Lobby").await;
        let endless: Body = stream::repeat_with(|| Ok(Bytes::from(vec![0; 8_192]))).boxed();
        let begin = stream::iter([Ok(Bytes::from(tar(&[("a", "b")])))]);
        let new = NewVersion { version: "1".to_owned(), note: String::new() };
        let refused = templates::upload(&world.ctx, &admin, &lobby.id, &new, begin.chain(endless).boxed()).await;
        assert!(at(refused, "file").contains("larger than this panel takes"));
        assert_eq!(objects(&world).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_server_stands_on_its_versions_and_what_is_in_use_stays() {
    on_both("a_server_stands_on_its_versions_and_what_is_in_use_stays", |world| async move {
        let admin = world.admin().await;
        let (base, map) = (made(&world, &admin, "Base").await, made(&world, &admin, "Map").await);
        upload(&world, &admin, &base, "1", &[("motd", "one"), ("old", "x")]).await;
        upload(&world, &admin, &map, "7", &[("world/level", "seven")]).await;
        let layer = |template: &str, version: &str| Choice { template: template.to_owned(), version: version.to_owned() };
        let ada = world.player("ada@example.org").await;
        let laid = servers::Form { layers: vec![layer("base", ""), layer("map", "7")], ..form("Valley") };
        let server = servers::create(&world.ctx, &ada, &laid).await.expect("made");
        assert_eq!(
            server.layers.iter().map(|layer| format!("{}@{}", layer.template, layer.version)).collect::<Vec<_>>(),
            ["base@1", "map@7"]
        );
        assert_eq!(world.server(&server.id).await.expect("there").layers, server.layers, "kept with the row");

        let newest = upload(&world, &admin, &base, "2", &[("motd", "two"), ("new", "x")]).await;
        let newer = templates::newer(&world.ctx, &server.layers).await.expect("asked").expect("there is something newer");
        assert_eq!(newer[0].version, newest.version);
        let difference = templates::difference(&world.ctx, &server.layers, &newer).await.expect("compared");
        let changes: Vec<_> = difference.changes.iter().map(|change| (change.path.as_str(), change.what)).collect();
        assert_eq!(changes, [("motd", Changed::Replaced), ("new", Changed::Added), ("old", Changed::Removed)]);

        let (_, uses) = templates::find(&world.ctx, &admin, &base.id).await.expect("there");
        assert_eq!(uses.values().copied().collect::<Vec<_>>(), [1]);
        let version = |text: &str| text.parse().expect("a version");
        let kept = templates::delete_version(&world.ctx, &admin, &base.id, &version("1")).await;
        assert!(matches!(kept, Err(Refusal::Conflict(why)) if why.contains("Servers stand on this version")));
        let kept = templates::delete(&world.ctx, &admin, &map.id).await;
        assert!(matches!(kept, Err(Refusal::Conflict(_))), "{kept:?}");
        templates::delete_version(&world.ctx, &admin, &base.id, &version("2")).await.expect("nobody stands on it");
        assert_eq!(objects(&world).await, 2);

        for (layers, why) in [
            (vec![layer("nothing", "")], "There is no template nothing."),
            (vec![layer("base", "9")], "Base has no version 9."),
            (vec![layer("base", "1"), layer("base", "1")], "base stands in the list twice."),
            (vec![layer("base", ""); 17], "A server has at most 16 layers."),
        ] {
            match servers::create(&world.ctx, &ada, &servers::Form { layers, ..form("Hill") }).await {
                Err(Refusal::Invalid(fields)) => assert_eq!(fields.at("layers"), Some(why)),
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_templates_document_makes_the_same_template_again_with_the_archives_that_are_there() {
    on_both("a_templates_document_makes_the_same_template_again_with_the_archives_that_are_there", |world| async move {
        let admin = world.admin().await;
        let details = Details { tags: vec!["pvp".to_owned()], description: "Where\neverybody meets.".to_owned(), ..details("Lobby") };
        let lobby = templates::create(&world.ctx, &admin, &details).await.expect("made");
        upload(&world, &admin, &lobby, "1", &[("a", "1")]).await;
        let second = upload(&world, &admin, &lobby, "2", &[("a", "2")]).await;
        let document = templates::export(&world.ctx, &admin, &lobby.id).await.expect("exported");
        let mut text = serde_json::to_value(&document).expect("JSON");
        // One archive is another one than the document says, one is not there at all.
        text["versions"][1]["sha256"] = "00".repeat(32).into();
        text["versions"].as_array_mut().unwrap().push(serde_json::json!({
            "version": "3", "sha256": "11".repeat(32), "bytes": 9, "object_key": "templates/lobby/3-0000000000000-00000000.tar"
        }));
        let imported = templates::import(&world.ctx, &admin, &text.to_string()).await.expect("imported");
        assert_ne!(imported.template.id, lobby.id);
        assert_eq!((imported.template.name.as_str(), imported.template.tags.as_slice()), ("Lobby", ["pvp".to_owned()].as_slice()));
        assert_eq!(imported.found.iter().map(roost::model::templates::Version::as_str).collect::<Vec<_>>(), ["1"]);
        let missing: Vec<_> = imported.missing.iter().map(|(version, why)| format!("{version}: {why}")).collect();
        assert!(missing[0].starts_with("2: ") && missing[0].contains("checksum differs"), "{missing:?}");
        assert!(missing[1].starts_with("3: there is no object"), "{missing:?}");
        let (whole, _) = templates::find(&world.ctx, &admin, &imported.template.id).await.expect("there");
        assert_eq!(whole.versions.len(), 1);
        for bad in ["", "[]", "{\"roost_template\":2,\"name\":\"a\",\"kind\":\"map\"}", "{\"roost_template\":1,\"name\":\"\",\"kind\":\"map\"}"] {
            assert!(matches!(templates::import(&world.ctx, &admin, bad).await, Err(Refusal::Invalid(fields)) if fields.at("document").is_some()), "{bad}");
        }

        // What no version names goes with the sweep, a day later; what one names stays.
        assert_eq!(objects(&world).await, 3);
        let loose = "templates/lobby/9-1767268800000-aabbccdd.tar".parse().expect("a key");
        world.ctx.objects.put(&loose, body(b"left by a kill")).await.expect("put");
        assert_eq!(templates::sweep(&world.ctx).await.expect("swept"), 0);
        world.clock.pass(2 * DAY);
        assert_eq!(templates::sweep(&world.ctx).await.expect("swept"), 1);
        assert_eq!(objects(&world).await, 3);
        assert!(world.ctx.objects.head(&second.object_key.parse().expect("a key")).await.is_ok());
    })
    .await;
}
