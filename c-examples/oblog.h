/*
 * OceanBase's log as it lies on disk and on the wire: groups of entries, one after the other, with
 * checksums at three levels. Numbers have a fixed width, highest byte first.
 *
 *   group header, 56 bytes   magic "GR", version, length; proposal, committed end, time, checksum
 *                            of the log up to here, number, flags
 *   entry header, 32 bytes   magic "LH", version, length; time, checksum of its data, flags
 *
 * Headers have a check of their own in their flags. The checksum of an entry is that of its data;
 * the checksum of a group is made of those of its entries and of the checksum of the group before,
 * so a group that is missing, repeated or out of its order is found out.
 */
#ifndef OBLOG_H
#define OBLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "unis.h"

enum { OBLOG_GROUP_HEADER_LEN = 56, OBLOG_ENTRY_HEADER_LEN = 32 };

/* A place between two groups, and what is known of the log before it. */
struct oblog_position {
    uint64_t lsn;
    uint64_t checksum;
    bool has_checksum;
};

struct oblog_group {
    const uint8_t *data;
    size_t data_len;
    uint64_t scn_ns;
    size_t entry_count;
    /* Fills a block up and has no entries. */
    bool is_padding;
};

/* --- checksums --- */

static uint32_t oblog_crc_tables[8][256];

static inline void oblog_make_crc_tables(void)
{
    size_t i, k;
    for (i = 0; i < 256; i++) {
        uint32_t value = (uint32_t)i;
        for (k = 0; k < 8; k++)
            value = value >> 1 ^ (value & 1 ? 0x82f63b78 : 0);
        oblog_crc_tables[0][i] = value;
    }
    for (k = 1; k < 8; k++)
        for (i = 0; i < 256; i++) {
            uint32_t value = oblog_crc_tables[k - 1][i];
            oblog_crc_tables[k][i] = value >> 8 ^ oblog_crc_tables[0][value & 0xff];
        }
}

/* CRC-32C without its inversions, eight bytes at a time. */
static inline uint32_t oblog_crc(uint32_t crc, const uint8_t *bytes, size_t len)
{
    const uint32_t(*table)[256] = (const uint32_t(*)[256])oblog_crc_tables;
    if (table[0][1] == 0)
        oblog_make_crc_tables();
    for (; len >= 8; len -= 8, bytes += 8)
        crc = table[7][(crc ^ bytes[0]) & 0xff] ^ table[6][(crc >> 8 ^ bytes[1]) & 0xff]
            ^ table[5][(crc >> 16 ^ bytes[2]) & 0xff] ^ table[4][crc >> 24 ^ bytes[3]]
            ^ table[3][bytes[4]] ^ table[2][bytes[5]] ^ table[1][bytes[6]] ^ table[0][bytes[7]];
    for (; len > 0; len--)
        crc = crc >> 8 ^ table[0][(crc ^ *bytes++) & 0xff];
    return crc;
}

/* Goes on with the checksum of a part, which counts as 8 bytes, lowest first. */
static inline uint32_t oblog_crc_of_crc(uint32_t crc, uint64_t part)
{
    uint8_t bytes[8];
    int i;
    for (i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(part >> 8 * i);
    return oblog_crc(crc, bytes, sizeof bytes);
}

static const uint64_t OBLOG_XXH[] = { 0x9e3779b185ebca87, 0xc2b2ae3d27d4eb4f, 0x165667b19e3779f9,
                                      0x85ebca77c2b2ae63 };

static inline uint64_t oblog_rotate(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

static inline uint64_t oblog_xxh_round(uint64_t lane, uint64_t word)
{
    return oblog_rotate(lane + word * OBLOG_XXH[1], 31) * OBLOG_XXH[0];
}

/* XXH64 of 4 to 7 words, seed 0. */
static inline uint64_t oblog_xxh64(const uint64_t *words, size_t count)
{
    uint64_t lanes[] = { OBLOG_XXH[0] + OBLOG_XXH[1], OBLOG_XXH[1], 0, -OBLOG_XXH[0] }, hash = 0;
    static const int rotations[] = { 1, 7, 12, 18 };
    size_t i;
    for (i = 0; i < 4; i++) {
        lanes[i] = oblog_xxh_round(lanes[i], words[i]);
        hash += oblog_rotate(lanes[i], rotations[i]);
    }
    for (i = 0; i < 4; i++)
        hash = (hash ^ oblog_xxh_round(0, lanes[i])) * OBLOG_XXH[0] + OBLOG_XXH[3];
    hash += count * 8;
    for (i = 4; i < count; i++)
        hash = oblog_rotate(hash ^ oblog_xxh_round(0, words[i]), 27) * OBLOG_XXH[0] + OBLOG_XXH[3];
    hash = (hash ^ hash >> 33) * OBLOG_XXH[1];
    hash = (hash ^ hash >> 29) * OBLOG_XXH[2];
    return hash ^ hash >> 32;
}

/* --- headers --- */

/* What both headers begin with, and the words behind it, of which the last one is the flags. */
struct oblog_header {
    unsigned version;
    size_t data_len;
    uint64_t words[7];
};

/* Version 1 keeps the parity of a header in its flags, version 2 the low 16 bits of a hash. */
static inline bool oblog_has_good_check(const struct oblog_header *header, size_t count)
{
    uint64_t words[7], flags = header->words[count - 1], parity = 0;
    size_t i;
    for (i = 0; i < count; i++) {
        words[i] = header->words[i];
        parity ^= words[i];
    }
    words[count - 1] &= ~(uint64_t)0xffff;
    if (header->version == 1)
        return __builtin_parityll(parity) == 0;
    return (oblog_xxh64(words, count) & 0xffff) == (flags & 0xffff);
}

/* Returns NULL, or what is wrong. */
static inline const char *oblog_read_header(struct unis_reader *log, unsigned magic, size_t header_len,
                                            struct oblog_header *header_out)
{
    size_t i, count = header_len / 8;
    uint64_t front;
    if (log->len < header_len)
        return "the log ends within a header";
    front = unis_be64(log);
    header_out->version = (unsigned)(front >> 32 & 0xffff);
    header_out->data_len = (size_t)(front & 0xffffffff);
    /* The hash is over the structure as it lies in the memory of a server: lowest byte first. */
    header_out->words[0] = front >> 48 | (front >> 32 & 0xffff) << 16 | front << 32;
    for (i = 1; i < count; i++)
        header_out->words[i] = unis_be64(log);
    if (front >> 48 != magic || header_out->version < 1 || header_out->version > 2)
        return "there is no header where one should be";
    if (!oblog_has_good_check(header_out, count))
        return "a header's check is wrong";
    if (header_out->data_len > INT32_MAX || header_out->data_len > log->len)
        return "a header promises more than there is";
    return NULL;
}

/* --- entries and groups --- */

/* Looks at each entry of a group and gives the checksum of them all. */
static inline const char *oblog_check_entries(struct oblog_group *group, uint32_t *checksum_out)
{
    struct unis_reader rest = { group->data, group->data_len, false };
    uint32_t checksum = 0;
    while (rest.len > 0) {
        struct oblog_header header;
        const char *wrong = oblog_read_header(&rest, 0x4c48, OBLOG_ENTRY_HEADER_LEN, &header);
        if (wrong != NULL)
            return wrong;
        if (oblog_crc(0, unis_take(&rest, header.data_len), header.data_len) != header.words[2])
            return "the checksum of an entry is wrong";
        checksum = oblog_crc_of_crc(checksum, header.words[2]);
        group->entry_count++;
    }
    *checksum_out = checksum;
    return NULL;
}

/* Takes the next group from `log`, checks all of it and moves `position` behind it. Returns NULL, or what is wrong. */
static inline const char *oblog_next_group(struct unis_reader *log, struct oblog_position *position,
                                           struct oblog_group *group_out)
{
    struct oblog_group group = { 0 };
    struct oblog_header header;
    uint32_t checksum = 0;
    const char *wrong = oblog_read_header(log, 0x4752, OBLOG_GROUP_HEADER_LEN, &header);
    if (wrong != NULL)
        return wrong;
    group.is_padding = header.words[6] >> (header.version == 1 ? 1 : 62) & 1;
    group.scn_ns = header.words[3];
    group.data_len = header.data_len;
    group.data = unis_take(log, header.data_len);
    wrong = group.is_padding ? NULL : oblog_check_entries(&group, &checksum);
    if (wrong != NULL)
        return wrong;
    if (position->has_checksum
        && oblog_crc_of_crc((uint32_t)position->checksum, checksum) != header.words[4])
        return "the checksum of the log is wrong";
    position->checksum = header.words[4];
    position->has_checksum = true;
    position->lsn += OBLOG_GROUP_HEADER_LEN + header.data_len;
    *group_out = group;
    return NULL;
}

#endif
