//! The engines that are here, with real programs in real containers.

use longshore_contract::Secret;

use super::*;
use crate::runner::tests::{Ground, answer_once, get};
use crate::runner::{Exit, Port, Spawned};
use crate::testing::{Image, Served, Tar, eventually};

/// The container engines that these tests are to use: those that answer here. Where `LONGSHORE_ENGINE` names one, it must.
async fn engines() -> Vec<Runtime> {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::new().await;
    let engines = Engines::new(directory.path(), served.registry.clone());
    let wanted = std::env::var("LONGSHORE_ENGINE").unwrap_or_default();
    let mut found = Vec::new();
    for (word, runtime) in [("docker", Runtime::Docker), ("podman", Runtime::Podman)] {
        match engines.connect(runtime).await {
            Ok(_) => found.push(runtime),
            Err(error) => {
                assert!(!wanted.split(',').any(|wanted| wanted == word), "{error}");
                let told = format!("skipped: {error}\n");
                std::io::Write::write_all(&mut std::io::stderr(), told.as_bytes()).unwrap();
            }
        }
    }
    found
}

#[tokio::test]
async fn an_engine_runs_functions_as_we_do() {
    for runtime in engines().await {
        let ground = Ground::new().await;
        let tar = Tar::new().program("function").file("srv/data", "from the image").done();
        let mut image =
            Image::new(tar.clone(), json!({ "Entrypoint": ["/function"], "Env": ["A=image", "B=image"] }));
        image.layers[0] =
            (zstd::encode_all(tar.as_slice(), 1).unwrap(), "application/vnd.oci.image.layer.v1.tar+zstd");
        let mut launch = ground.launch(&image).await;
        launch.runtime = runtime;
        launch.environment = [("B".to_owned(), Secret::new("function"))].into();
        launch.memory = Some(64 << 20);
        let Spawned { instance, api } = ground.runner.spawn(&launch).await.unwrap();
        instance.listens().await;
        assert_eq!(get(&instance, "/read/srv/data").await, "from the image");
        assert_eq!(get(&instance, "/env/A").await, "image");
        assert_eq!(get(&instance, "/env/B").await, "function");
        assert_eq!(get(&instance, "/write/tmp/a").await, "written");
        assert!(get(&instance, "/write/a").await.contains("Read-only file system"));
        let at = api.local_addr().unwrap();
        let asked = tokio::spawn(answer_once(api, "HTTP/1.1 200 OK\r\n\r\nan event"));
        assert!(get(&instance, &format!("/fetch/{at}/next")).await.ends_with("an event"));
        asked.await.unwrap();
        eventually("it is in the log", || ground.log().starts_with("listening on ")).await;
        let mut stream = instance.connect().await.unwrap();
        stream.write_all(b"GET /use/200 HTTP/1.1\r\n\r\n").await.unwrap();
        // Podman does not always learn why the kernel killed it.
        let exit = instance.exited().await;
        let told = exit == Exit::Memory(64 << 20) || runtime == Runtime::Podman && exit == Exit::Signal(9);
        assert!(told, "{exit}");

        let mut launch = ground.launch(&Image::function(&["exit", "3"])).await;
        launch.runtime = runtime;
        let error = ground.runner.start(&launch).await.unwrap_err();
        let StartError::Exited { exit, tail, .. } = error else { panic!("{error}") };
        assert_eq!(exit, Exit::Status(3));
        // An engine keeps output and errors apart, so their order is not the function's.
        assert_eq!(tail.len(), 5);
        let log = ground.log();
        assert!(log.contains("line 39\n") && log.contains("the last word\n"), "{log}");
        assert_eq!(left_by(&ground, runtime).await, 0);
    }
}

async fn left_by(ground: &Ground, runtime: Runtime) -> usize {
    let engines = &ground.runner.engines;
    engines.containers(&engines.connect(runtime).await.unwrap()).await.unwrap().len()
}

#[tokio::test]
async fn versions_in_an_engine_may_listen_on_one_port_and_none_is_left_behind() {
    for runtime in engines().await {
        let ground = Ground::new().await;
        let mut launch = ground.launch(&Image::function(&["serve"])).await;
        (launch.runtime, launch.port) = (runtime, Port::Fixed(9000));
        let mut instances = Vec::new();
        for version in ["1", "2"] {
            launch.environment.insert("VERSION".to_owned(), Secret::new(version));
            instances.push(ground.runner.start(&launch).await.unwrap());
        }
        assert_eq!(get(&instances[0], "/env/VERSION").await, "1");
        assert_eq!(get(&instances[1], "/env/VERSION").await, "2");
        assert_eq!(left_by(&ground, runtime).await, 2);
        let first = instances.remove(0);
        first.stop(Duration::from_millis(10)).await;
        drop(first);
        assert_eq!(left_by(&ground, runtime).await, 1);
        // As after the end of a daemon that could not clean up: the next one does.
        std::mem::forget(instances.remove(0));
        ground.runner.engines.remove_orphans().await;
        assert_eq!(left_by(&ground, runtime).await, 1, "it is no earlier daemon's");
        let engines = Engines::new(&ground.path("roots"), ground.served.registry.clone());
        engines.remove_orphans().await;
        assert_eq!(left_by(&ground, runtime).await, 0);
    }
}

#[tokio::test]
async fn a_container_whose_start_nobody_waits_for_goes_with_the_daemon_and_no_other_is_made() {
    for runtime in engines().await {
        let ground = Ground::new().await;
        let mut launch = ground.launch(&Image::function(&["serve"])).await;
        launch.runtime = runtime;
        std::mem::forget(ground.runner.start(&launch).await.unwrap());
        assert_eq!(left_by(&ground, runtime).await, 1);
        ground.runner.end().await;
        assert_eq!(left_by(&ground, runtime).await, 0);
        let error = ground.runner.start(&launch).await.unwrap_err().to_string();
        assert!(error.contains("this cloud is ending"), "{error}");
        assert_eq!(left_by(&ground, runtime).await, 0);
    }
}
