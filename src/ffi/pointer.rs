//! Pointers from C, looked at before they are used.
//!
//! What cannot be seen (that memory behind a pointer is alive, as long as said, and nobody else's)
//! is the header's contract; everything else is checked here.

use std::ffi::{CStr, OsStr, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::result::Failure;

/// An out-parameter: written once, and only when the call has succeeded.
pub(super) struct Out<T>(*mut T);

impl<T> Out<T> {
    pub(super) fn new(name: &str, pointer: *mut T) -> Result<Self, Failure> {
        if pointer.is_null() {
            return Err(Failure::null(name));
        }
        if !pointer.is_aligned() {
            return Err(Failure::argument(format!("{name} is not aligned")));
        }
        Ok(Self(pointer))
    }

    pub(super) fn set(self, value: T) {
        // SAFETY: not NULL and aligned, and the caller owns it for the length of the call.
        unsafe { self.0.write(value) }
    }
}

/// `len` bytes; NULL is fine for none.
pub(super) fn bytes<'a>(
    name: &str,
    pointer: *const c_void,
    len: usize,
) -> Result<&'a [u8], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    check(name, pointer, len)?;
    // SAFETY: not NULL, and the caller says that so many bytes are there and nobody changes them.
    Ok(unsafe { std::slice::from_raw_parts(pointer.cast(), len) })
}

/// `len` bytes to write to; NULL is fine for none.
pub(super) fn bytes_mut<'a>(
    name: &str,
    pointer: *mut c_void,
    len: usize,
) -> Result<&'a mut [u8], Failure> {
    if len == 0 {
        return Ok(&mut []);
    }
    check(name, pointer, len)?;
    // SAFETY: not NULL, and the caller says that so many bytes are there and nobody else uses them.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer.cast(), len) })
}

/// Text that ends with NUL.
pub(super) fn text<'a>(name: &str, pointer: *const c_char) -> Result<&'a str, Failure> {
    optional_text(name, pointer)?.ok_or_else(|| Failure::null(name))
}

/// Text that ends with NUL; NULL is none.
pub(super) fn optional_text<'a>(
    name: &str,
    pointer: *const c_char,
) -> Result<Option<&'a str>, Failure> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, and the caller says that a NUL follows.
    let text = unsafe { CStr::from_ptr(pointer) };
    let text = text
        .to_str()
        .map_err(|_| Failure::argument(format!("{name} is not UTF-8")));
    text.map(Some)
}

/// A path that ends with NUL, in whatever encoding the file system has.
pub(super) fn path<'a>(name: &str, pointer: *const c_char) -> Result<&'a Path, Failure> {
    if pointer.is_null() {
        return Err(Failure::null(name));
    }
    // SAFETY: not NULL, and the caller says that a NUL follows.
    let path = unsafe { CStr::from_ptr(pointer) };
    Ok(Path::new(OsStr::from_bytes(path.to_bytes())))
}

/// A structure whose first member is its size, as its caller knew it when it was compiled.
pub(super) fn sized<'a, T>(name: &str, pointer: *const T) -> Result<&'a T, Failure> {
    if pointer.is_null() {
        return Err(Failure::null(name));
    }
    if !pointer.is_aligned() {
        return Err(Failure::argument(format!("{name} is not aligned")));
    }
    // SAFETY: not NULL and aligned, and the caller says that a structure with a size is there.
    let size = unsafe { pointer.cast::<usize>().read() };
    if size != size_of::<T>() {
        return Err(Failure::argument(format!(
            "size of {name} is {size}, and not {} as in this version of the library",
            size_of::<T>()
        )));
    }
    // SAFETY: the whole of it is there, and the caller leaves it alone for the length of the call.
    Ok(unsafe { &*pointer })
}

/// Copies text to memory of the caller as snprintf does: cut to `len`, always ended by NUL, and the
/// whole length told.
pub(super) fn copy_text(text: &str, target: *mut c_char, len: usize) -> usize {
    if let Ok(target) = bytes_mut("buf", target.cast(), len)
        && let Some(room) = len.checked_sub(1)
    {
        let mut copied = text.len().min(room);
        while !text.is_char_boundary(copied) {
            copied -= 1;
        }
        target[..copied].copy_from_slice(&text.as_bytes()[..copied]);
        target[copied] = 0;
    }
    text.len()
}

fn check(name: &str, pointer: *const c_void, len: usize) -> Result<(), Failure> {
    if pointer.is_null() {
        return Err(Failure::null(name));
    }
    if isize::try_from(len).is_err() {
        return Err(Failure::argument(format!(
            "{name} cannot be {len} bytes long"
        )));
    }
    Ok(())
}
