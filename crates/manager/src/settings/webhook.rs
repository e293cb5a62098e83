//! Settings of the webhooks.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::{ArgAction, Args, ValueEnum};
use serde::Deserialize;

use super::Span;

/// Where the certificate of the webhooks comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Certificates {
    /// From an authority of our own, in a Secret.
    #[default]
    Own,
    /// From files that somebody else keeps, such as cert-manager.
    Files,
}

/// The webhooks, checked.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// The port, on the address of the admin server.
    pub port: u16,
    /// The certificate.
    pub certificates: CertificateSettings,
}

/// Where the certificate of the webhooks comes from, and what belongs to that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSettings {
    /// From an authority of our own.
    Own(OwnAuthority),
    /// From `tls.crt` and `tls.key` of this folder.
    Files(PathBuf),
}

/// An authority of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnAuthority {
    /// The Secret that it is kept in, in the manager's namespace.
    pub secret: String,
    /// The Service that the API server calls, in the manager's namespace.
    pub service: String,
    /// The webhook configurations, of both kinds, that are told of it.
    pub configuration: String,
    /// Other names by which the API server may call, where it does not use the Service.
    pub names: Vec<String>,
    /// How long certificates are good for.
    pub lifetimes: Lifetimes,
}

/// How long certificates are good for. Each is replaced when a third of its life is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// The authority's own.
    pub authority: Duration,
    /// Those that it issues.
    pub certificate: Duration,
    /// How long a change takes to reach every API server and every replica, at most.
    pub settle: Duration,
}

/// In the settings file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WebhookFile {
    pub enabled: Option<bool>,
    pub port: Option<u16>,
    pub certificates: Option<Certificates>,
    pub cert_dir: Option<PathBuf>,
    pub secret_name: Option<String>,
    pub service_name: Option<String>,
    pub configuration_name: Option<String>,
    pub names: Option<Vec<String>>,
    pub authority_lifetime: Option<Span>,
    pub certificate_lifetime: Option<Span>,
    pub settle_time: Option<Span>,
}

/// As flags and environment variables.
#[derive(Debug, Default, Args)]
#[allow(clippy::struct_field_names)] // flags are named after their fields
pub struct WebhookArgs {
    /// Whether admission webhooks are served; they need what deploy/webhook.yaml has [default: false].
    #[arg(long = "webhook", env = "CNPG_STORAGE_MANAGER_WEBHOOK", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub webhook_enabled: Option<bool>,
    /// Port of the webhooks, on the address of the admin server [default: 9443].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_WEBHOOK_PORT", value_name = "PORT")]
    pub webhook_port: Option<u16>,
    /// Where their certificate comes from [default: own].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_WEBHOOK_CERTIFICATES", value_name = "FROM", value_enum)]
    pub webhook_certificates: Option<Certificates>,
    /// Folder with tls.crt and tls.key, for certificates from files.
    #[arg(long, env = "CNPG_STORAGE_MANAGER_WEBHOOK_CERT_DIR", value_name = "FOLDER")]
    pub webhook_cert_dir: Option<PathBuf>,
    /// Secret of the own authority, which must be there [default: cnpg-storage-manager-webhook].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_WEBHOOK_SECRET_NAME", value_name = "NAME")]
    pub webhook_secret_name: Option<String>,
    /// Service that the API server calls [default: cnpg-storage-manager-webhook].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_WEBHOOK_SERVICE_NAME", value_name = "NAME")]
    pub webhook_service_name: Option<String>,
    /// Webhook configurations that are told of the own authority [default: cnpg-storage-manager].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_WEBHOOK_CONFIGURATION_NAME", value_name = "NAME")]
    pub webhook_configuration_name: Option<String>,
    /// Other names that the API server may call by.
    #[arg(long, env = "CNPG_STORAGE_MANAGER_WEBHOOK_NAMES", value_name = "NAMES", value_delimiter = ',')]
    pub webhook_names: Option<Vec<String>>,
    /// How long the own authority is good for [default: 365d].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_WEBHOOK_AUTHORITY_LIFETIME", value_name = "TIME")]
    pub webhook_authority_lifetime: Option<Span>,
    /// How long its certificates are good for [default: 90d].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_WEBHOOK_CERTIFICATE_LIFETIME", value_name = "TIME")]
    pub webhook_certificate_lifetime: Option<Span>,
    /// How long a change takes to reach every API server and replica, at most [default: 5m].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_WEBHOOK_SETTLE_TIME", value_name = "TIME")]
    pub webhook_settle_time: Option<Span>,
}

/// Name of what deploy/webhook.yaml makes.
const NAME: &str = "cnpg-storage-manager-webhook";
const DAY: Duration = Duration::from_hours(24);

/// The settings; none where webhooks are switched off.
pub(super) fn resolve(args: &WebhookArgs, file: WebhookFile) -> anyhow::Result<Option<WebhookSettings>> {
    let WebhookFile {
        enabled,
        port,
        certificates,
        cert_dir,
        secret_name,
        service_name,
        configuration_name,
        names,
        authority_lifetime,
        certificate_lifetime,
        settle_time,
    } = file;
    if !args.webhook_enabled.or(enabled).unwrap_or(false) {
        return Ok(None);
    }
    let span = |flag: Option<Span>, file: Option<Span>, default: Duration| flag.or(file).map_or(default, |s| s.0);
    let text = |flag: &Option<String>, file: Option<String>, default: &str| flag.clone().or(file).unwrap_or_else(|| default.to_owned());
    let certificates = match args.webhook_certificates.or(certificates).unwrap_or_default() {
        Certificates::Files => {
            let folder = args.webhook_cert_dir.clone().or(cert_dir);
            let folder = folder.unwrap_or_else(|| PathBuf::from("/etc/cnpg-storage-manager/webhook-tls"));
            CertificateSettings::Files(folder)
        }
        Certificates::Own => CertificateSettings::Own(OwnAuthority {
            secret: text(&args.webhook_secret_name, secret_name, NAME),
            service: text(&args.webhook_service_name, service_name, NAME),
            configuration: text(&args.webhook_configuration_name, configuration_name, "cnpg-storage-manager"),
            names: args.webhook_names.clone().or(names).unwrap_or_default(),
            lifetimes: lifetimes(
                span(args.webhook_authority_lifetime, authority_lifetime, DAY.saturating_mul(365)),
                span(args.webhook_certificate_lifetime, certificate_lifetime, DAY.saturating_mul(90)),
                span(args.webhook_settle_time, settle_time, Duration::from_mins(5)),
            )?,
        }),
    };
    Ok(Some(WebhookSettings {
        port: args.webhook_port.or(port).unwrap_or(9443),
        certificates,
    }))
}

/// In the last third of a life, a change must reach everybody twice: the new authority, then what it issued.
fn lifetimes(authority: Duration, certificate: Duration, settle: Duration) -> anyhow::Result<Lifetimes> {
    ensure!(
        !settle.is_zero() && authority >= settle.saturating_mul(9) && certificate >= settle.saturating_mul(6),
        "webhook: authorityLifetime ({authority:?}) must be at least nine times settleTime ({settle:?}), and certificateLifetime ({certificate:?}) six times"
    );
    ensure!(
        authority >= certificate,
        "webhook: authorityLifetime ({authority:?}) must not be shorter than certificateLifetime ({certificate:?})"
    );
    Ok(Lifetimes {
        authority,
        certificate,
        settle,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_leave_time_for_a_rotation() {
        let seconds = Duration::from_secs;
        assert!(lifetimes(seconds(18), seconds(12), seconds(2)).is_ok());
        for (authority, certificate, settle) in [(17, 12, 2), (18, 11, 2), (18, 19, 2), (18, 12, 0)] {
            let wrong = lifetimes(seconds(authority), seconds(certificate), seconds(settle));
            assert!(wrong.is_err_and(|e| e.to_string().starts_with("webhook: authorityLifetime")));
        }
    }

    #[test]
    fn webhooks_are_off_unless_somebody_says_otherwise() {
        let args = WebhookArgs::default();
        assert!(matches!(resolve(&args, WebhookFile::default()), Ok(None)));
        let on = WebhookFile {
            enabled: Some(true),
            certificates: Some(Certificates::Files),
            ..WebhookFile::default()
        };
        let off = WebhookArgs {
            webhook_enabled: Some(false),
            ..WebhookArgs::default()
        };
        assert!(matches!(resolve(&off, on.clone()), Ok(None)));
        let settings = resolve(&args, on).ok().flatten();
        let folder = PathBuf::from("/etc/cnpg-storage-manager/webhook-tls");
        assert_eq!(
            settings.map(|s| (s.port, s.certificates)),
            Some((9443, CertificateSettings::Files(folder)))
        );
    }
}
