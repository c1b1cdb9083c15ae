//! OceanBase's names for what is called and for how it went.

use std::ffi::c_char;

use crate::frame::obrpc::{Pcode, ResultCode};

/// OceanBase's name of a result code, such as "OB_TIMEOUT" for -4012; "unknown result code" for one
/// that has none here. It lives for ever.
///
/// Any thread, at any time.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_obrpc_rcode_name(rcode: i32) -> *const c_char {
    let name = ResultCode::new(rcode).c_name();
    name.unwrap_or(c"unknown result code").as_ptr()
}

/// OceanBase's name of what is called, such as "OB_SET_CONFIG" for 0x106; "unknown call" for a code
/// that has none here. It lives for ever.
///
/// Any thread, at any time.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_obrpc_pcode_name(pcode: u32) -> *const c_char {
    Pcode(pcode).c_name().unwrap_or(c"unknown call").as_ptr()
}
