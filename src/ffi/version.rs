//! Which library this is.

use std::ffi::{CStr, c_char};

/// The major version of the header. Versions below 1 may change in every minor version.
pub const SEALWIRE_VERSION_MAJOR: u32 = 0;
/// The minor version of the header.
pub const SEALWIRE_VERSION_MINOR: u32 = 1;
/// The patch version of the header.
pub const SEALWIRE_VERSION_PATCH: u32 = 0;
/// The version of the header as one number that grows: major * 65536 + minor * 256 + patch.
pub const SEALWIRE_VERSION_NUMBER: u32 =
    SEALWIRE_VERSION_MAJOR << 16 | SEALWIRE_VERSION_MINOR << 8 | SEALWIRE_VERSION_PATCH;

/// The version of the library that is linked, to be compared with ::SEALWIRE_VERSION_NUMBER of the
/// header that was compiled against.
///
/// Any thread, at any time.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_version_number() -> u32 {
    SEALWIRE_VERSION_NUMBER
}

/// The version of the library as text, such as "0.1.0". It lives for ever.
///
/// Any thread, at any time.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_version() -> *const c_char {
    VERSION.as_ptr()
}

const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => panic!("the version of the package is text"),
    };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_the_version_of_the_package() {
        let parts = [
            SEALWIRE_VERSION_MAJOR,
            SEALWIRE_VERSION_MINOR,
            SEALWIRE_VERSION_PATCH,
        ];
        assert_eq!(
            parts.map(|part| part.to_string()).join("."),
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(
            SEALWIRE_VERSION_NUMBER,
            parts[0] << 16 | parts[1] << 8 | parts[2]
        );
    }
}
