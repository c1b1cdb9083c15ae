use std::fmt;
use std::io::Read;

use super::violation::Violation;

/// How a payload is compressed: always as one block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Compressor(pub u32);

impl Compressor {
    /// Not compressed.
    pub const INVALID: Self = Self(0);
    /// Not compressed.
    pub const NONE: Self = Self(1);
    /// A block of lz4 1.0.
    pub const LZ4_1_0: Self = Self(2);
    /// Snappy without frames.
    pub const SNAPPY: Self = Self(3);
    /// zlib.
    pub const ZLIB: Self = Self(4);
    /// zstd 1.0.
    pub const ZSTD_1_0: Self = Self(5);
    /// zstd 1.3.8.
    pub const ZSTD_1_3_8: Self = Self(6);
    /// A block of lz4 1.9.1.
    pub const LZ4_1_9_1: Self = Self(7);
    /// A stream of lz4, of a connection that is compressed as a whole.
    pub const STREAM_LZ4: Self = Self(8);
    /// A stream of zstd, likewise.
    pub const STREAM_ZSTD: Self = Self(9);
    /// A stream of zstd 1.3.8, likewise.
    pub const STREAM_ZSTD_1_3_8: Self = Self(10);
    /// zlib by a faster library.
    pub const ZLIB_LITE: Self = Self(11);

    /// True where payloads are as they were.
    pub fn is_none(self) -> bool {
        matches!(self, Self::INVALID | Self::NONE)
    }

    /// The name, where it is known here.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::INVALID => "invalid",
            Self::NONE => "none",
            Self::LZ4_1_0 => "lz4_1.0",
            Self::SNAPPY => "snappy",
            Self::ZLIB => "zlib",
            Self::ZSTD_1_0 => "zstd_1.0",
            Self::ZSTD_1_3_8 => "zstd_1.3.8",
            Self::LZ4_1_9_1 => "lz4_1.9.1",
            Self::STREAM_LZ4 => "stream_lz4",
            Self::STREAM_ZSTD => "stream_zstd",
            Self::STREAM_ZSTD_1_3_8 => "stream_zstd_1.3.8",
            Self::ZLIB_LITE => "zlib_lite",
            _ => return None,
        })
    }

    /// Inflates a payload to exactly `original_len` bytes. No more memory than that is written to,
    /// whatever the payload says of itself.
    ///
    /// # Errors
    ///
    /// [`Violation::TooLong`] where `original_len` is more than `len_max`; nothing was inflated
    /// then. [`Violation::Malformed`] where the payload cannot be inflated, or not to that length;
    /// [`Violation::Compressor`] where the method is not read here.
    pub fn inflate(
        self,
        payload: &[u8],
        original_len: u32,
        len_max: usize,
    ) -> Result<Vec<u8>, Violation> {
        let len = original_len as usize;
        if len > len_max {
            return Err(Violation::TooLong { len, len_max });
        }
        let inflated = match self {
            Self::ZLIB | Self::ZLIB_LITE => {
                read_up_to(flate2::read::ZlibDecoder::new(payload), len)
            }
            #[cfg(feature = "compression")]
            Self::LZ4_1_0 | Self::LZ4_1_9_1 => lz4(payload, len),
            #[cfg(feature = "compression")]
            Self::SNAPPY => snappy(payload, len),
            #[cfg(feature = "compression")]
            Self::ZSTD_1_0 | Self::ZSTD_1_3_8 => zstd(payload, len),
            Self(other) => return Err(Violation::Compressor(other)),
        };
        inflated
            .filter(|inflated| inflated.len() == len)
            .ok_or(Violation::Malformed("a payload that can be inflated"))
    }
}

impl fmt::Display for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "compressor {}", self.0),
        }
    }
}

/// All that a decoder gives, and at most one byte more than `len`.
fn read_up_to(decoder: impl Read, len: usize) -> Option<Vec<u8>> {
    let mut inflated = Vec::new();
    let result = decoder.take(len as u64 + 1).read_to_end(&mut inflated);
    result.is_ok().then_some(inflated)
}

#[cfg(feature = "compression")]
fn lz4(payload: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut inflated = vec![0; len];
    let written = lz4_flex::block::decompress_into(payload, &mut inflated).ok()?;
    inflated.truncate(written);
    Some(inflated)
}

#[cfg(feature = "compression")]
fn snappy(payload: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut inflated = vec![0; len];
    let written = snap::raw::Decoder::new()
        .decompress(payload, &mut inflated)
        .ok()?;
    inflated.truncate(written);
    Some(inflated)
}

#[cfg(feature = "compression")]
fn zstd(payload: &[u8], len: usize) -> Option<Vec<u8>> {
    read_up_to(ruzstd::decoding::StreamingDecoder::new(payload).ok()?, len)
}
