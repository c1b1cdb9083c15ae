/* The macros of the header against the functions of the library that it came with. */
#include <sealwire.h>
#include <stdio.h>
#include <string.h>

#if SEALWIRE_VERSION_NUMBER != (SEALWIRE_VERSION_MAJOR * 65536 + SEALWIRE_VERSION_MINOR * 256 + SEALWIRE_VERSION_PATCH)
#error "the number is not made of its parts"
#endif

int main(void)
{
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", SEALWIRE_VERSION_MAJOR, SEALWIRE_VERSION_MINOR, SEALWIRE_VERSION_PATCH);
    if (sealwire_version_number() != SEALWIRE_VERSION_NUMBER || strcmp(sealwire_version(), text) != 0) {
        fprintf(stderr, "header %s, library %s\n", text, sealwire_version());
        return 1;
    }
    return 0;
}
