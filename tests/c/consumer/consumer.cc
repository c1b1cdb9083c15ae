/* It runs only where the library is there and does something. */
#include <iostream>
#include <sealwire.hpp>

int main()
{
    try {
        sealwire::ConfigBuilder::server().build();
        return 1;
    } catch (const sealwire::Error &error) {
        std::cout << sealwire_version() << ": " << error.what() << "\n";
        return error.code() == SEALWIRE_ERR_CONFIG ? 0 : 1;
    }
}
