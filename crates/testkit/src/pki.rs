//! Certificates, service account keys and kubeconfig files for test clusters.
//!
//! All keys are ECDSA P-256: Kubernetes accepts them everywhere, service account signing included, and making one takes
//! microseconds.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;

use crate::tools::{read, write_atomically};

/// Test certificates live this long: longer than any lab is kept.
const VALID_YEARS: i16 = 10;

/// Who a certificate speaks for. Kubernetes reads the common name as the user and the organisations as the groups.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Common name: the user.
    pub cn: String,
    /// Organisations: the groups.
    pub orgs: Vec<String>,
}

impl Subject {
    /// A user in no group.
    pub fn user(cn: impl Into<String>) -> Self {
        Self {
            cn: cn.into(),
            orgs: Vec::new(),
        }
    }

    /// A user in one group.
    pub fn member(cn: impl Into<String>, org: impl Into<String>) -> Self {
        Self {
            cn: cn.into(),
            orgs: vec![org.into()],
        }
    }
}

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// It identifies a server; its names are checked by clients.
    Server,
    /// It identifies a client.
    Client,
}

/// A certificate with its private key, both as PEM text.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate.
    pub cert_pem: String,
    /// The private key (PKCS#8).
    pub key_pem: String,
}

impl Issued {
    /// Writes `NAME.crt` and `NAME.key` (the key readable by the owner alone) and returns both paths.
    pub fn save(&self, dir: &Path, name: &str) -> Result<(PathBuf, PathBuf)> {
        let (cert, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        write_secret(&key, &self.key_pem)?;
        write_public(&cert, &self.cert_pem)?;
        Ok((cert, key))
    }

    /// What a TLS server serves with it.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>> {
        self.serves(WebPkiClientVerifier::no_client_auth())
    }

    /// The same, that takes certificates of clients from an authority, where they have one.
    pub fn server_config_that_asks(&self, clients: &Ca) -> Result<Arc<ServerConfig>> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(clients.cert_pem().as_bytes()).context("read a certificate")?;
        roots.add(root).context("trust a certificate")?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).allow_unauthenticated();
        self.serves(verifier.build().context("verify certificates of clients")?)
    }

    fn serves(&self, clients: Arc<dyn ClientCertVerifier>) -> Result<Arc<ServerConfig>> {
        let certificate = CertificateDer::from_pem_slice(self.cert_pem.as_bytes()).context("read a certificate")?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).context("read a key")?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("choose TLS versions")?
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate], key)
            .context("use a certificate")?;
        Ok(Arc::new(config))
    }
}

/// A certificate authority.
pub struct Ca {
    cn: String,
    cert_pem: String,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    /// Makes a new authority.
    pub fn new(cn: &str) -> Result<Self> {
        let key = KeyPair::generate().context("make the key of a certificate authority")?;
        let params = Self::params(cn)?;
        let cert_pem = params.self_signed(&key).context("sign the certificate of an authority")?.pem();
        let key_pem = key.serialize_pem();
        Ok(Self {
            cn: cn.to_owned(),
            cert_pem,
            key_pem,
            issuer: Issuer::new(params, key),
        })
    }

    /// Loads the authority that [`Ca::save`] left in `dir`, or makes one and saves it: calling it again changes nothing.
    pub fn load_or_create(dir: &Path, cn: &str) -> Result<Self> {
        if dir.join("ca.key").is_file() {
            return Self::load(dir);
        }
        let ca = Self::new(cn)?;
        ca.save(dir)?;
        Ok(ca)
    }

    /// Loads the authority that [`Ca::save`] left in `dir`.
    pub fn load(dir: &Path) -> Result<Self> {
        let cn = read(&dir.join("ca.cn"))?;
        let cert_pem = read(&dir.join("ca.crt"))?;
        let key_pem = read(&dir.join("ca.key"))?;
        let key = KeyPair::from_pem(&key_pem).with_context(|| format!("parse {}", dir.join("ca.key").display()))?;
        // An issuer is its name and its key, so it need not be parsed out of the certificate.
        let issuer = Issuer::new(Self::params(&cn)?, key);
        Ok(Self {
            cn,
            cert_pem,
            key_pem,
            issuer,
        })
    }

    /// Writes `ca.crt`, `ca.key` and `ca.cn` into `dir`, the key last: with it the authority is complete.
    pub fn save(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        write_public(&dir.join("ca.cn"), &self.cn)?;
        write_public(&dir.join("ca.crt"), &self.cert_pem)?;
        write_secret(&dir.join("ca.key"), &self.key_pem)
    }

    /// The authority's own certificate, to be trusted by others.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// Signs a certificate with a new key. `sans` are DNS names and IP addresses.
    pub fn issue(&self, subject: Subject, usage: Usage, sans: &[String]) -> Result<Issued> {
        let what = || format!("issue a certificate for {}", subject.cn);
        let mut params = CertificateParams::new(sans).with_context(what)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, subject.cn.as_str());
        for org in &subject.orgs {
            params.distinguished_name.push(DnType::OrganizationName, org.as_str());
        }
        validity(&mut params);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match usage {
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().with_context(what)?;
        let cert_pem = params.signed_by(&key, &self.issuer).with_context(what)?.pem();
        Ok(Issued {
            cert_pem,
            key_pem: key.serialize_pem(),
        })
    }

    fn params(cn: &str) -> Result<CertificateParams> {
        let mut params = CertificateParams::new(Vec::<String>::new()).context("certificate parameters")?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, cn);
        validity(&mut params);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        Ok(params)
    }
}

/// From yesterday (clocks differ) for [`VALID_YEARS`].
fn validity(params: &mut CertificateParams) {
    let today = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).date();
    let yesterday = today.yesterday().unwrap_or(today);
    let date = |year: i16, date: jiff::civil::Date| {
        // The 28th exists in every month of every year.
        rcgen::date_time_ymd(year.into(), date.month().unsigned_abs(), date.day().unsigned_abs().min(28))
    };
    params.not_before = date(yesterday.year(), yesterday);
    params.not_after = date(today.year() + VALID_YEARS, today);
}

/// The key pair that signs service account tokens.
pub struct ServiceAccountKeys {
    /// The private key (PKCS#8), for `--service-account-signing-key-file`.
    pub private_pem: String,
    /// The public key, for `--service-account-key-file`.
    pub public_pem: String,
}

impl ServiceAccountKeys {
    /// Makes a new pair.
    pub fn new() -> Result<Self> {
        let key = KeyPair::generate().context("make the service account key")?;
        Ok(Self {
            private_pem: key.serialize_pem(),
            public_pem: key.public_key_pem(),
        })
    }

    /// Leaves `sa.key` and `sa.pub` in `dir`, keeping those that are there, and returns both paths.
    pub fn ensure(dir: &Path) -> Result<(PathBuf, PathBuf)> {
        let (private, public) = (dir.join("sa.key"), dir.join("sa.pub"));
        if !private.is_file() {
            let keys = Self::new()?;
            write_public(&public, &keys.public_pem)?;
            write_secret(&private, &keys.private_pem)?;
        }
        Ok((private, public))
    }
}

/// How a kubeconfig's user proves who it is.
pub enum Credential<'a> {
    /// By a client certificate.
    Certificate(&'a Issued),
    /// By a bearer token.
    Token(&'a str),
}

/// A self-contained kubeconfig. It is JSON, which is YAML too.
pub fn kubeconfig(server: &str, ca_pem: &str, credential: &Credential<'_>, namespace: &str) -> String {
    let base64 = |text: &str| ByteString(text.as_bytes().to_vec());
    let user = match credential {
        Credential::Certificate(issued) => json!({
            "client-certificate-data": base64(&issued.cert_pem),
            "client-key-data": base64(&issued.key_pem),
        }),
        Credential::Token(token) => json!({ "token": token }),
    };
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "test", "cluster": { "server": server, "certificate-authority-data": base64(ca_pem) } }],
        "users": [{ "name": "test", "user": user }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test", "namespace": namespace } }],
        "current-context": "test",
    });
    format!("{config:#}\n")
}

fn write_public(path: &Path, text: &str) -> Result<()> {
    write_atomically(path, text.as_bytes())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).with_context(|| format!("set the mode of {}", path.display()))
}

/// Writes a file that only its owner can read. (Temporary files are made with that mode and renamed.)
pub fn write_secret(path: &Path, text: &str) -> Result<()> {
    write_atomically(path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

    use super::*;

    fn verify(ca: &Ca, issued: &Issued, name: &str) -> Result<(), rustls::Error> {
        use rustls::client::danger::ServerCertVerifier;
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(ca.cert_pem().as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap();
        let leaf = CertificateDer::from_pem_slice(issued.cert_pem.as_bytes()).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier.verify_server_cert(&leaf, &[], &name, &[], UnixTime::now()).map(|_| ())
    }

    #[test]
    fn a_loaded_authority_signs_what_the_saved_one_is_trusted_for() {
        let dir = tempfile::tempdir().unwrap();
        let made = Ca::load_or_create(dir.path(), "made").unwrap();
        let loaded = Ca::load_or_create(dir.path(), "other").unwrap();
        assert_eq!(made.cert_pem(), loaded.cert_pem());
        let sans = ["127.0.0.1".to_owned(), "api.example".to_owned()];
        let issued = loaded.issue(Subject::user("api"), Usage::Server, &sans).unwrap();
        verify(&made, &issued, "127.0.0.1").unwrap();
        verify(&made, &issued, "api.example").unwrap();
        assert!(verify(&made, &issued, "127.0.0.2").is_err());
        let client = loaded.issue(Subject::user("api"), Usage::Client, &sans).unwrap();
        assert!(verify(&made, &client, "api.example").is_err());
        assert!(verify(&Ca::new("made").unwrap(), &issued, "api.example").is_err());
    }

    #[test]
    fn keys_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let (key, public) = ServiceAccountKeys::ensure(dir.path()).unwrap();
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let before = read(&key).unwrap();
        ServiceAccountKeys::ensure(dir.path()).unwrap();
        assert_eq!(before, read(&key).unwrap());
        assert!(read(&public).unwrap().starts_with("-----BEGIN PUBLIC KEY-----"));
    }
}
