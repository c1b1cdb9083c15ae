/*
 * OceanBase's serialization ("UNIS"), as much of it as the examples need: written into memory of a
 * fixed size, read from memory that may hold anything.
 *
 * Nothing here reports an error by itself. A writer that is full, and a reader that met something
 * else than it was asked for, do nothing from then on, and say so when they are asked at the end.
 */
#ifndef UNIS_H
#define UNIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct unis_writer {
    uint8_t *bytes;
    size_t capacity, len;
    bool is_full;
};

struct unis_reader {
    const uint8_t *bytes;
    size_t len;
    bool has_failed;
};

/* --- writing --- */

static inline void unis_put_bytes(struct unis_writer *writer, const void *bytes, size_t len)
{
    if (writer->is_full || len > writer->capacity - writer->len) {
        writer->is_full = true;
        return;
    }
    memcpy(writer->bytes + writer->len, bytes, len);
    writer->len += len;
}

static inline void unis_put_u8(struct unis_writer *writer, uint8_t value)
{
    unis_put_bytes(writer, &value, 1);
}

static inline void unis_put_varint(struct unis_writer *writer, uint64_t value)
{
    for (; value > 0x7f; value >>= 7)
        unis_put_u8(writer, (uint8_t)(value | 0x80));
    unis_put_u8(writer, (uint8_t)value);
}

/* A negative number has 5 bytes here, and 10 as a vi64. */
static inline void unis_put_vi32(struct unis_writer *writer, int32_t value)
{
    unis_put_varint(writer, (uint32_t)value);
}

static inline void unis_put_vi64(struct unis_writer *writer, int64_t value)
{
    unis_put_varint(writer, (uint64_t)value);
}

/* Log streams and positions in a log are not as numbers elsewhere: always 8 bytes, highest first. */
static inline void unis_put_be64(struct unis_writer *writer, uint64_t value)
{
    int shift;
    for (shift = 56; shift >= 0; shift -= 8)
        unis_put_u8(writer, (uint8_t)(value >> shift));
}

/* The NUL is written and not counted. */
static inline void unis_put_string(struct unis_writer *writer, const char *text)
{
    unis_put_varint(writer, strlen(text));
    unis_put_bytes(writer, text, strlen(text) + 1);
}

/* Gives what unis_end_object() wants. The length takes 5 bytes whatever it is, to be filled in then. */
static inline size_t unis_begin_object(struct unis_writer *writer)
{
    static const uint8_t version_and_length[] = { 1, 0x80, 0x80, 0x80, 0x80, 0 };
    unis_put_bytes(writer, version_and_length, sizeof version_and_length);
    return writer->len;
}

static inline void unis_end_object(struct unis_writer *writer, size_t begin)
{
    size_t i, len = writer->len - begin;
    if (writer->is_full)
        return;
    for (i = 0; i < 4; i++)
        writer->bytes[begin - 5 + i] = (uint8_t)(len >> 7 * i | 0x80);
    writer->bytes[begin - 1] = (uint8_t)(len >> 28);
}

/* --- reading --- */

static inline void unis_fail(struct unis_reader *reader)
{
    reader->has_failed = true;
    reader->len = 0;
}

/* The next `len` bytes, or NULL. */
static inline const uint8_t *unis_take(struct unis_reader *reader, uint64_t len)
{
    const uint8_t *bytes = reader->bytes;
    if (reader->has_failed || len > reader->len) {
        unis_fail(reader);
        return NULL;
    }
    reader->bytes += len;
    reader->len -= (size_t)len;
    return bytes;
}

/*
 * Members that a later version added are missing where an earlier one wrote: at the end of an
 * object each is 0, which is no failure. An end within a member is one.
 */
static inline uint8_t unis_u8(struct unis_reader *reader)
{
    return reader->len == 0 ? 0 : *unis_take(reader, 1);
}

static inline uint64_t unis_varint(struct unis_reader *reader)
{
    uint64_t value = 0;
    unsigned shift;
    if (reader->len == 0)
        return 0;
    for (shift = 0; shift < 64; shift += 7) {
        const uint8_t *byte = unis_take(reader, 1);
        if (byte == NULL || (shift == 63 && *byte > 1))
            break;
        value |= (uint64_t)(*byte & 0x7f) << shift;
        if (*byte < 0x80)
            return value;
    }
    unis_fail(reader);
    return 0;
}

static inline int64_t unis_vi64(struct unis_reader *reader)
{
    return (int64_t)unis_varint(reader);
}

static inline int32_t unis_vi32(struct unis_reader *reader)
{
    uint64_t value = unis_varint(reader);
    if (value > UINT32_MAX)
        unis_fail(reader);
    return (int32_t)(uint32_t)value;
}

static inline uint64_t unis_be64(struct unis_reader *reader)
{
    const uint8_t *bytes;
    uint64_t value = 0;
    int i;
    if (reader->len == 0)
        return 0;
    bytes = unis_take(reader, 8);
    for (i = 0; bytes != NULL && i < 8; i++)
        value = value << 8 | bytes[i];
    return value;
}

/* The members of an object, to be read by themselves. What is left of them is of a later version. */
static inline struct unis_reader unis_object(struct unis_reader *reader)
{
    struct unis_reader members = { NULL, 0, false };
    bool is_missing = reader->len == 0;
    uint64_t version = unis_varint(reader), len = unis_varint(reader);
    if (!is_missing && version != 1)
        unis_fail(reader);
    members.bytes = unis_take(reader, len);
    members.len = reader->has_failed ? 0 : (size_t)len;
    members.has_failed = reader->has_failed;
    return members;
}

#endif
