//! The pinned Go programs and what is read from Go modules.

use csm_testkit::tools::{self, Set};

#[test]
fn the_light_set_is_built_and_stamped() {
    let binaries = tools::ensure(Set::Light, &mut |line| println!("{line}")).unwrap();
    for name in ["etcd", "kube-apiserver", "kubectl"] {
        assert!(binaries.path(name).is_file(), "{name} is missing");
    }
    let version = std::process::Command::new(binaries.path("kube-apiserver"))
        .arg("--version")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&version.stdout).trim(), "Kubernetes v1.36.3");
    let leftovers: Vec<_> = std::fs::read_dir(binaries.dir()).unwrap().filter_map(Result::ok).collect();
    assert!(leftovers.iter().all(|entry| entry.path().is_file()), "only programs belong here");
}

#[test]
fn cnpg_crds_come_from_its_module() {
    let crds = tools::cnpg_crds().unwrap();
    let names: Vec<_> = crds.iter().filter_map(|crd| crd.metadata.name.as_deref()).collect();
    assert!(names.contains(&"clusters.postgresql.cnpg.io"), "{names:?}");
}
