/* It runs only where the library is there and does something. */
#include <sealwire.h>
#include <stdio.h>

int main(void)
{
    sealwire_config_builder *builder;
    const sealwire_config *config;
    char why[128];
    if (sealwire_config_builder_new_server(&builder) != SEALWIRE_OK)
        return 1;
    if (sealwire_config_builder_build(builder, &config) != SEALWIRE_ERR_CONFIG)
        return 1;
    sealwire_config_builder_error_text(builder, why, sizeof why);
    sealwire_config_builder_free(builder);
    printf("%s: %s\n", sealwire_version(), why);
    return 0;
}
