//! Makes authorities and certificates. Keys are ECDSA P-256, made in microseconds and taken by every API server.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};

use crate::settings::Lifetimes;

/// Clocks differ: a certificate is good from a while before it is made.
const BACKDATED: Duration = Duration::from_hours(1);

/// A private key in PEM form, which is never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Key(pub String);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(private key)")
    }
}

/// The time for which something is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Life {
    /// When it was made.
    pub from: Timestamp,
    /// When it ends.
    pub until: Timestamp,
}

impl Life {
    pub fn new(from: Timestamp, length: Duration, at_most: Option<Timestamp>) -> Self {
        let until = from.saturating_add(length).unwrap_or(Timestamp::MAX);
        Self {
            from,
            until: at_most.map_or(until, |end| until.min(end)),
        }
    }

    pub fn is_over(&self, now: Timestamp) -> bool {
        now >= self.until
    }

    /// From when on it is to be replaced: a third of it is left.
    pub fn replace_at(&self) -> Timestamp {
        let third = self.until.duration_since(self.from) / 3;
        self.until.checked_sub(third).unwrap_or(self.from)
    }
}

/// An authority that issues certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Authority {
    /// Its common name, of which there is but one.
    pub name: String,
    /// Its own certificate, in PEM form.
    pub certificate: String,
    pub key: Key,
    pub life: Life,
}

/// A certificate that an authority has issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Leaf {
    /// The names that it is for.
    pub names: Vec<String>,
    /// In PEM form.
    pub certificate: String,
    pub key: Key,
    pub life: Life,
}

impl Authority {
    /// A new one.
    pub fn make(lifetimes: Lifetimes, now: Timestamp) -> Result<Self, rcgen::Error> {
        let name = format!("cnpg-storage-manager webhooks {now}");
        let life = Life::new(now, lifetimes.authority, None);
        let key = KeyPair::generate()?;
        let certificate = params_of_authority(&name, life)?.self_signed(&key)?.pem();
        Ok(Self {
            name,
            certificate,
            key: Key(key.serialize_pem()),
            life,
        })
    }

    /// A certificate for a server of these names, good no longer than the authority itself.
    pub fn issue(&self, names: &[String], lifetimes: Lifetimes, now: Timestamp) -> Result<Leaf, rcgen::Error> {
        // An issuer is its name and its key, so that it need not be parsed out of its certificate.
        let issuer = Issuer::new(params_of_authority(&self.name, self.life)?, KeyPair::from_pem(&self.key.0)?);
        let life = Life::new(now, lifetimes.certificate, Some(self.life.until));
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = common_name(names.first().map_or("cnpg-storage-manager", String::as_str));
        valid(&mut params, life);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        Ok(Leaf {
            names: names.to_vec(),
            certificate: params.signed_by(&key, &issuer)?.pem(),
            key: Key(key.serialize_pem()),
            life,
        })
    }
}

fn params_of_authority(name: &str, life: Life) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = common_name(name);
    valid(&mut params, life);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(params)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut all = DistinguishedName::new();
    all.push(DnType::CommonName, name);
    all
}

fn valid(params: &mut CertificateParams, life: Life) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    // Nothing here was made before 1970.
    let since = |at: Timestamp| Duration::from_secs(u64::try_from(at.as_second()).unwrap_or(0));
    params.not_before = epoch + since(life.from).saturating_sub(BACKDATED);
    params.not_after = epoch + since(life.until);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // tests
mod tests {
    use std::sync::Arc;

    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

    use super::*;

    const LIFETIMES: Lifetimes = Lifetimes {
        authority: Duration::from_hours(48),
        certificate: Duration::from_hours(24),
        settle: Duration::from_mins(1),
    };

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + hour * 3600).unwrap()
    }

    /// Whether who trusts these authorities takes a certificate, for a name at a time.
    fn trusts(authorities: &[&Authority], leaf: &Leaf, name: &str, now: Timestamp) -> bool {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots
                .add(CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap())
                .unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap();
        let leaf = CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now.as_second().unsigned_abs()));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier.verify_server_cert(&leaf, &[], &name, &[], now).is_ok()
    }

    #[test]
    fn what_an_authority_issues_is_trusted_for_its_names_and_its_time() {
        let (old, new) = (
            Authority::make(LIFETIMES, at(0)).unwrap(),
            Authority::make(LIFETIMES, at(1)).unwrap(),
        );
        let names = ["hooks.storage.svc".to_owned(), "127.0.0.1".to_owned()];
        // As it comes back from a Secret.
        let old: Authority = serde_json::from_str(&serde_json::to_string(&old).unwrap()).unwrap();
        let leaf = old.issue(&names, LIFETIMES, at(2)).unwrap();
        assert!(trusts(&[&old], &leaf, "hooks.storage.svc", at(3)));
        assert!(
            trusts(&[&new, &old], &leaf, "127.0.0.1", at(3)),
            "both are trusted during a rotation"
        );
        assert!(!trusts(&[&new], &leaf, "hooks.storage.svc", at(3)));
        assert!(!trusts(&[&old], &leaf, "other.storage.svc", at(3)));
        assert!(trusts(&[&old], &leaf, "127.0.0.1", at(2) - BACKDATED), "a clock that is slow");
        assert!(!trusts(&[&old], &leaf, "127.0.0.1", at(27)), "it is over");
        let last = old.issue(&names, LIFETIMES, at(47)).unwrap();
        assert_eq!(last.life.until, at(48), "not longer than its authority");
        assert_eq!(last.life.replace_at(), at(48) - Duration::from_mins(20));
    }

    #[test]
    fn keys_are_not_printed() {
        let authority = Authority::make(LIFETIMES, at(0)).unwrap();
        assert!(authority.key.0.contains("PRIVATE KEY"));
        assert!(!format!("{authority:?}").contains("PRIVATE KEY"));
    }
}
