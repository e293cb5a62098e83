//! Webhook configurations for programs that run beside a light control plane, which has no network of Services.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::manifest;

/// The objects of a manifest, with the API server calling programs of this machine instead of a Service: each webhook is there once for each
/// of these ports, named `r0.NAME`, `r1.NAME` and so on. `change` is done to each of them.
pub fn calling(manifest: &str, ports: &[u16], change: impl Fn(&mut Value)) -> Result<Vec<Value>> {
    let mut objects = manifest::documents(manifest)?;
    for object in &mut objects {
        let Some(webhooks) = object.get_mut("webhooks").and_then(Value::as_array_mut) else {
            continue;
        };
        let mut called = Vec::new();
        for webhook in &*webhooks {
            let text = |value: &Value| {
                value
                    .as_str()
                    .map(str::to_owned)
                    .context("a webhook needs a name, and a Service with a path")
            };
            let (name, path) = (text(&webhook["name"])?, text(&webhook["clientConfig"]["service"]["path"])?);
            for (i, port) in ports.iter().enumerate() {
                let mut webhook = webhook.clone();
                webhook["clientConfig"] = json!({"url": format!("https://127.0.0.1:{port}{path}")});
                webhook["name"] = format!("r{i}.{name}").into();
                change(&mut webhook);
                called.push(webhook);
            }
        }
        *webhooks = called;
    }
    Ok(objects)
}
