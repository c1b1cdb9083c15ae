use crate::wire::{Reader, Writer};

use super::{UnisRead, UnisWrite, Violation};

/// The arguments of [`Pcode::SET_CONFIG`](crate::frame::obrpc::Pcode::SET_CONFIG). Its response is
/// a result code alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetConfig {
    /// `name=value[,name=value…]`
    pub settings: String,
}

impl SetConfig {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// [`Violation`] where it is something else.
    pub fn read(content: &[u8]) -> Result<Self, Violation> {
        let settings = Reader::new(content)
            .string()
            .and_then(|bytes| str::from_utf8(bytes).ok())
            .ok_or(Violation::Malformed("a text of settings"))?;
        Ok(Self {
            settings: settings.to_owned(),
        })
    }

    /// Appends it.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.string(self.settings.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_one_string() {
        let config = SetConfig {
            settings: "a=1,b=2".into(),
        };
        let mut out = Vec::new();
        config.write(&mut Writer::new(&mut out));
        assert_eq!(out, b"\x07a=1,b=2\0");
        assert_eq!(SetConfig::read(&out), Ok(config));
        for cut in 0..out.len() {
            assert!(SetConfig::read(&out[..cut]).is_err());
        }
    }
}
