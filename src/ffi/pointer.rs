//! Pointers from C, looked at before they are used.
//!
//! What cannot be seen (that memory behind a pointer is alive, as long as said, and nobody else's)
//! is the header's contract; everything else is checked here.

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

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

/// A value that the caller keeps unchanged for the length of the call.
pub(super) fn shared<'a, T>(name: &str, pointer: *const T) -> Result<&'a T, Failure> {
    if pointer.is_null() {
        return Err(Failure::null(name));
    }
    if !pointer.is_aligned() {
        return Err(Failure::argument(format!("{name} is not aligned")));
    }
    // SAFETY: not NULL and aligned, and the caller says that the value is there.
    Ok(unsafe { &*pointer })
}

/// Memory of the caller for values that are written one after the other.
pub(super) struct OutSlice<T> {
    start: *mut T,
    room: usize,
    len: usize,
}

impl<T> OutSlice<T> {
    pub(super) fn new(name: &str, start: *mut T, room: usize) -> Result<Self, Failure> {
        let Out(start) = Out::new(name, start)?;
        match room.checked_mul(size_of::<T>()) {
            Some(1..=LEN_MAX) => Ok(Self {
                start,
                room,
                len: 0,
            }),
            _ => Err(Failure::argument(format!(
                "{name} cannot have room for {room}"
            ))),
        }
    }

    /// Writes behind what was written; nothing where there is no room.
    pub(super) fn push(&mut self, value: T) {
        if self.has_room() {
            // SAFETY: within the memory that the caller gave for the length of the call.
            let place = unsafe { self.start.add(self.len) };
            // SAFETY: as above, and aligned.
            unsafe { place.write(value) };
            self.len += 1;
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.len < self.room
    }

    /// The number of values written.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

/// A struct of options, which grows from version to version.
///
/// # Safety
///
/// Its first field is a `usize`, and any bytes are a value of it.
pub(super) unsafe trait Options: Copy + Default {
    /// Its size in the first version, in bytes.
    const LEN_MIN: usize;
}

/// The options of a caller, whose header may be older or newer than this library, as the size in
/// front says; NULL is for the defaults.
pub(super) fn options<T: Options>(name: &str, pointer: *const T) -> Result<T, Failure> {
    let mut options = T::default();
    if pointer.is_null() {
        return Ok(options);
    }
    if !pointer.is_aligned() {
        return Err(Failure::argument(format!("{name} is not aligned")));
    }
    // SAFETY: not NULL and aligned, and the size is what comes first.
    let size = unsafe { pointer.cast::<usize>().read() };
    if !(T::LEN_MIN..=OPTIONS_LEN_MAX).contains(&size) {
        return Err(Failure::argument(format!(
            "{name} has size {size}, and has to have sizeof (*{name})"
        )));
    }
    // SAFETY: not NULL, and the caller says that so many bytes are there.
    let given = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), size) };
    let (known, unknown) = given.split_at(size.min(size_of::<T>()));
    if unknown.iter().any(|byte| *byte != 0) {
        return Err(Failure::argument(format!(
            "{name} asks for something that this version of the library does not know"
        )));
    }
    let target = (&raw mut options).cast::<u8>();
    // SAFETY: no longer than the options, and any bytes are a value of them.
    unsafe { target.copy_from_nonoverlapping(known.as_ptr(), known.len()) };
    Ok(options)
}

/// A time as poll() takes it, in milliseconds. Rounded up: woken too early, a caller would spin
/// until the deadline.
pub(super) fn poll_ms(left: Duration) -> c_int {
    c_int::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX)
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

/// The longest memory there is, in bytes.
const LEN_MAX: usize = isize::MAX as usize;

/// Options of any version are shorter, in bytes: more is a size that was never set.
const OPTIONS_LEN_MAX: usize = 1_024;
