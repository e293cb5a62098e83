//! UIDs of objects.

use std::fmt::{self, Write as _};
use std::sync::Arc;

/// A UID. Those of Kubernetes are UUIDs in lower case (RFC 9562): 16 bytes instead of a text of 36. Any other text stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uid {
    /// A UUID.
    Uuid([u8; 16]),
    /// Anything else.
    Text(Arc<str>),
}

impl Uid {
    /// This UID.
    pub fn new(text: &str) -> Self {
        let number = || {
            let digits: String = text.split('-').collect();
            (digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok()).flatten()
        };
        let uuid = number().map(|number| Self::Uuid(number.to_be_bytes()));
        // Only what reads back as it was.
        uuid.filter(|uuid| *uuid.text() == *text)
            .unwrap_or_else(|| Self::Text(Arc::from(text)))
    }

    /// Its text.
    pub fn text(&self) -> Arc<str> {
        match self {
            Self::Uuid(_) => Arc::from(self.to_string()),
            Self::Text(text) => text.clone(),
        }
    }

    /// Whether this is its text.
    pub fn is(&self, text: &str) -> bool {
        match self {
            Self::Uuid(_) => *self == Self::new(text),
            Self::Text(own) => **own == *text,
        }
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(bytes) => {
                for (i, byte) in bytes.iter().enumerate() {
                    if matches!(i, 4 | 6 | 8 | 10) {
                        f.write_char('-')?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
            Self::Text(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_reads_back_as_it_was() {
        let uuid = "01234567-89ab-cdef-0011-22334455667f";
        assert!(matches!(Uid::new(uuid), Uid::Uuid(_)));
        for text in [
            uuid,
            "00000000-0000-0000-0000-000000000000",
            "01234567-89AB-cdef-0011-22334455667f",
            "0123456789abcdef001122334455667f",
            "+1234567-89ab-cdef-0011-22334455667f",
            "01234567-89ab-cdef-0011-22334455667g",
            "u1",
            "",
            "-",
        ] {
            let uid = Uid::new(text);
            assert_eq!(*uid.text(), *text);
            assert!(uid.is(text) && !uid.is("another"));
        }
    }
}
