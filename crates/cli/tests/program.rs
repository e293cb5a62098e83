//! The program itself: exit status and where it says what.

#[allow(dead_code)] // other tests need more of it
mod common;

use common::{Folder, run};

fn kubeconfig(server: &str) -> String {
    format!(
        r#"{{"apiVersion": "v1", "kind": "Config", "current-context": "here",
        "contexts": [{{"name": "here", "context": {{"cluster": "c", "user": "u", "namespace": "shop"}}}}],
        "clusters": [{{"name": "c", "cluster": {{"server": "{server}"}}}}], "users": [{{"name": "u", "user": {{}}}}]}}"#
    )
}

#[test]
fn wrong_usage_is_2_and_help_is_0() {
    for wrong in [&["status", "orders", "-A"][..], &["explain"], &["status", "-o", "xml"], &[]] {
        let (status, text, said) = run(wrong, "");
        assert_eq!((status, text.is_empty(), said.is_empty()), (Some(2), true, false), "{wrong:?}");
    }
    let (status, text, _) = run(&["--help"], "");
    assert_eq!(status, Some(0));
    assert!(text.contains("3  with --check: something needs a person"), "{text}");
}

#[test]
fn errors_are_1_and_say_what_to_do() {
    let (status, _, said) = run(&["status", "--kubeconfig", "/nowhere/other"], "");
    assert_eq!(status, Some(1));
    assert!(
        said.starts_with("error: cannot use the kubeconfig /nowhere/other; give --kubeconfig FILE"),
        "{said}"
    );

    // A port that was free a moment ago: nobody answers there.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a port")
        .port();
    let server = format!("http://127.0.0.1:{port}");
    let folder = Folder::new();
    let path = folder.file("kubeconfig.json", kubeconfig(&server));
    let (status, _, said) = run(&["status", "--kubeconfig", &path], "");
    assert_eq!(status, Some(1));
    assert!(said.contains(&format!("cannot reach the API server at {server}")), "{said}");
    assert!(said.contains("--context"), "{said}");
    let (status, _, said) = run(&["status", "--kubeconfig", &path, "--context", "there"], "");
    assert_eq!(status, Some(1));
    assert!(said.contains("there") && said.contains("--context NAME"), "{said}");
}

#[cfg(unix)]
#[test]
fn its_name_decides_what_it_is() {
    let (status, text, _) = common::run_as("/usr/local/bin/kubectl-cnpg-disk", &["--help"]);
    assert_eq!(status, Some(0));
    assert!(text.contains("Usage: kubectl cnpg disk <COMMAND>"), "{text}");
    let (status, _, said) = common::run_as("kubectl-cnpg-disk", &["explain", "orders"]);
    assert_eq!(status, Some(2), "{said}");
    let (status, _, said) = common::run_as("kubectl-cnpg-disk", &["status", "--kubeconfig", "/nowhere/other"]);
    assert_eq!(status, Some(1));
    assert!(said.starts_with("error: cannot use the kubeconfig /nowhere/other"), "{said}");
}
