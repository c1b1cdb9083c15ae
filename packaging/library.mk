# The C library: built without the command line, and installed where C programs look for it.
PREFIX     ?= /usr/local
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DATADIR    ?= $(PREFIX)/share
BINDIR     ?= $(PREFIX)/bin
STRIP      ?= strip
DEB        ?= $(or $(CARGO_TARGET_DIR),target)/deb

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p;/^version/q' Cargo.toml)
# Versions below 1 keep the soname until the interface breaks.
SOVERSION := $(firstword $(subst ., ,$(VERSION)))

BUILT      := $(or $(CARGO_TARGET_DIR),target)/c
STATIC     := $(or $(CARGO_TARGET_DIR),target)/release/libsealwire.a
SHARED     := $(BUILT)/libsealwire.so.$(VERSION)
LINK_FLAGS := $(BUILT)/native-static-libs
FROM_LIB    = $(shell realpath -m --relative-to=$(LIBDIR) $(1))
FROM_PREFIX = $(shell realpath -m --relative-to=$(PREFIX) $(1))
FILLED      = sed -e 's|@PREFIX@|$(PREFIX)|g' -e 's|@VERSION@|$(VERSION)|g' -e 's|@SOVERSION@|$(SOVERSION)|g' \
              -e 's|@LIBDIR@|$(call FROM_PREFIX,$(LIBDIR))|g' -e 's|@INCLUDEDIR@|$(call FROM_PREFIX,$(INCLUDEDIR))|g' \
              -e 's|@INCLUDEDIR_FROM_LIBDIR@|$(call FROM_LIB,$(INCLUDEDIR))|g' -e "s|@LIBS@|$$(cat $(LINK_FLAGS))|g"

.PHONY: lib header abi install install-bin install-lib deb

lib: ## Builds the C library, static and shared, without the command line
	@mkdir -p $(BUILT)
	$(CARGO) rustc --release --lib --no-default-features --crate-type staticlib -- \
		-C debuginfo=2 --print native-static-libs=$(abspath $(LINK_FLAGS))
	@$(MAKE) --no-print-directory $(SHARED) $(BUILT)/THIRD-PARTY.txt

header: ## Writes include/sealwire.h anew from src/ffi
	SEALWIRE_WRITE_HEADER=1 $(CARGO) test -q --test header

abi: ## Writes tests/c/sealwire.abi, which describes the binary interface, anew
	SEALWIRE_WRITE_ABI=1 $(PYTHON) tests/c BinaryInterface.is

install: install-lib install-bin ## Installs everything below PREFIX (/usr/local), staged in DESTDIR

install-bin: ## Installs the command line and its manual page
	$(CARGO) build --release
	install -D -m 755 -s --strip-program=$(STRIP) $(or $(CARGO_TARGET_DIR),target)/release/sealwire \
		$(DESTDIR)$(BINDIR)/sealwire
	install -D -m 644 packaging/sealwire.1 $(DESTDIR)$(DATADIR)/man/man1/sealwire.1

install-lib: lib ## Installs the C library, its headers, and what finds them
	install -d $(DESTDIR)$(INCLUDEDIR) $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(LIBDIR)/cmake/Sealwire \
		$(DESTDIR)$(DATADIR)/man/man3 $(DESTDIR)$(DATADIR)/doc/sealwire
	install -m 644 include/sealwire.h include/sealwire.hpp $(DESTDIR)$(INCLUDEDIR)
	$(STRIP) --strip-debug -o $(DESTDIR)$(LIBDIR)/libsealwire.a $(STATIC)
	$(STRIP) --strip-debug -o $(DESTDIR)$(LIBDIR)/libsealwire.so.$(VERSION) $(SHARED)
	ln -sf libsealwire.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libsealwire.so.$(SOVERSION)
	ln -sf libsealwire.so.$(SOVERSION) $(DESTDIR)$(LIBDIR)/libsealwire.so
	$(FILLED) packaging/sealwire.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/sealwire.pc
	$(FILLED) packaging/SealwireConfig.cmake.in > $(DESTDIR)$(LIBDIR)/cmake/Sealwire/SealwireConfig.cmake
	$(FILLED) packaging/SealwireConfigVersion.cmake.in > $(DESTDIR)$(LIBDIR)/cmake/Sealwire/SealwireConfigVersion.cmake
	install -m 644 packaging/sealwire.3 $(DESTDIR)$(DATADIR)/man/man3
	install -m 644 LICENSE-APACHE LICENSE-MIT docs/c-api.md $(BUILT)/THIRD-PARTY.txt $(DESTDIR)$(DATADIR)/doc/sealwire

deb: ## Makes Debian packages in DEB (target/deb): the command line, the library, what is built with it
	rm -rf $(DEB)
	@$(MAKE) --no-print-directory install DESTDIR=$(abspath $(DEB))/staged PREFIX=/usr \
		LIBDIR=/usr/lib/$$(dpkg-architecture -qDEB_HOST_MULTIARCH)
	$(PYTHON) packaging/deb.py $(DEB)/staged $(DEB) $(VERSION) $(SOVERSION)
	@rm -rf $(DEB)/staged

# Linked by hand: a version script that goes through rustc's own link is lost or refused.
$(SHARED): $(STATIC) packaging/sealwire.map packaging/library.mk
	$(CC) -shared -o $@ -Wl,--whole-archive $(STATIC) -Wl,--no-whole-archive -Wl,--gc-sections \
		-Wl,--version-script=packaging/sealwire.map -Wl,-soname,libsealwire.so.$(SOVERSION) \
		-Wl,-z,defs -Wl,-z,now -Wl,-z,relro $$(cat $(LINK_FLAGS))

$(BUILT)/THIRD-PARTY.txt: Cargo.lock packaging/third_party.py
	$(PYTHON) packaging/third_party.py > $@.new
	@mv $@.new $@
