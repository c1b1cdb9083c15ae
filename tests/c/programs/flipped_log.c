/*
 * The log reader's parser with everything that may be wrong with a log: reads a good one from its
 * input, then cuts it at each byte and turns each bit around, and says which of that went unnoticed.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../../../c-examples/oblog.h"

/* Exactly as long as the log, so that whoever reads on behind it is seen. */
static const char *check(const uint8_t *bytes, size_t len, size_t *group_count_out)
{
    uint8_t *exact = malloc(len > 0 ? len : 1);
    struct unis_reader log = { exact, len, false };
    struct oblog_position position = { 0, 0, false };
    struct oblog_group group;
    const char *wrong = NULL;

    memcpy(exact, bytes, len);
    *group_count_out = 0;
    while (wrong == NULL && log.len > 0) {
        wrong = oblog_next_group(&log, &position, &group);
        *group_count_out += wrong == NULL;
    }
    free(exact);
    return wrong;
}

int main(void)
{
    static uint8_t bytes[8192];
    size_t len = fread(bytes, 1, sizeof bytes, stdin), whole, groups, edges = 0, at;
    const char *wrong = check(bytes, len, &whole);
    int bit;

    if (wrong != NULL) {
        printf("the log is not good: %s\n", wrong);
        return 1;
    }
    for (at = 0; at < len; at++) {
        edges += check(bytes, at, &groups) == NULL;
        for (bit = 0; bit < 8; bit++) {
            bytes[at] ^= (uint8_t)(1 << bit);
            if (check(bytes, len, &groups) == NULL)
                printf("bit %d of byte %zu was not missed\n", bit, at);
            bytes[at] ^= (uint8_t)(1 << bit);
        }
    }
    printf("%zu groups, %zu cuts between them\n", whole, edges);
    return 0;
}
