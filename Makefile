# The whole build, one file. Adding a source file needs no edit here; adding a
# dependency between modules does: the USES_ table below is the architecture.
# `make lint` checks the includes against it, and the linker refuses the rest,
# because every program and every unit test is linked with what its line names.

# ---- who may use whom (strictly downwards) --------------------------------

MODULES        := scheduler agent keeper dns image rootfs net runtime ecs base

USES_base      :=
USES_ecs       := base
USES_image     := base
USES_rootfs    := base
USES_net       := base
USES_runtime   := base
USES_keeper    := runtime base
USES_dns       := ecs base
USES_agent     := keeper image rootfs net runtime ecs base
USES_scheduler := ecs base

# Programs: cmd/NAME.c, or all of cmd/NAME/*.c.
PROGRAMS          := berthd berth berth-oci berth-keeper berth-worker berth-fetcher berth-reader berth-uplink \
		     berth-metadata berth-resolver
USES_berthd       := scheduler agent keeper image rootfs net runtime ecs base
USES_berth        := ecs base
USES_berth-oci    := runtime base
USES_berth-keeper := keeper runtime base
USES_berth-worker := image base
USES_berth-fetcher := image base
USES_berth-reader := image base
USES_berth-uplink := base
USES_berth-metadata := ecs base
USES_berth-resolver := dns ecs base

# Small programs that are started often or live beside every task: no loader.
STATIC            := berth-oci berth-keeper
# Where berth-oci begins, before the C library does (runtime/protect_entry.c).
comma             := ,
ENTRY_berth-oci   := $(if $(filter x86_64%,$(shell $(CC) -dumpmachine)),-Wl$(comma)-e$(comma)protect_entry)

# Libraries, each in one module only (pkg-config names).
LIBS_base      := jansson libuv libmicrohttpd sqlite3 gnutls libcurl inih libpcre2-8
LIBS_image     := libarchive libisal liblzma libzstd
LIBS_net       := libnl-3.0 libnl-route-3.0
LIBS_runtime   := libcap
LIBS_dns       := ldns
STATIC_LIBS    := -lcap -ljansson

# ---- where it goes ---------------------------------------------------------

PREFIX     ?= /usr
BINDIR     ?= $(PREFIX)/bin
SBINDIR    ?= $(PREFIX)/sbin
LIBEXECDIR ?= $(PREFIX)/libexec/berth
UNITDIR    ?= /lib/systemd/system
SYSUSERS   ?= $(PREFIX)/lib/sysusers.d
DOCDIR     ?= $(PREFIX)/share/doc/berth

VERSION    := 0.1.0

# ---- variants --------------------------------------------------------------

ifdef SAN
VARIANT := san
VFLAGS  := -O1 -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined
VLINK   := -fsanitize=address,undefined
else ifdef COV
VARIANT := cov
VFLAGS  := -O0 --coverage
VLINK   := --coverage
else
VARIANT := release
VFLAGS  := -O2 -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fcf-protection
VLINK   := -Wl,-z,relro,-z,now
endif

B       := build/$(VARIANT)
CC      ?= gcc
PYTHON  ?= /usr/bin/python3
PKG     := pkg-config

WARN    := -Wall -Wextra -Wshadow -Wvla -Wundef -Wformat=2 -Wwrite-strings -Wcast-qual -Wconversion \
	   -Wno-sign-conversion -Wstrict-prototypes -Wmissing-prototypes -Wimplicit-fallthrough=5 -Werror
BASE    := -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I. -include base/banned.h -g -fPIE -fno-common \
	   -fno-strict-aliasing -fno-delete-null-pointer-checks -fno-strict-overflow -fvisibility=hidden \
	   -DBERTH_VERSION='"$(VERSION)"' -DBERTH_LIBEXECDIR='"$(LIBEXECDIR)"'
DEPFLAGS = -MMD -MP

# ---- objects ---------------------------------------------------------------

GEN      := build/gen
MODELS   := $(wildcard ecs/model/*.tsv)
GENERATED := $(MODELS:ecs/model/%.tsv=$(GEN)/ecs/model_%.c) $(GEN)/runtime/syscalls.c

sources   = $(wildcard $(1)/*.c $(1)/*/*.c)
objects   = $(patsubst %.c,$(B)/%.o,$(1))

define module_rules
OBJ_$(1) := $(call objects,$(call sources,$(1))) $(patsubst $(GEN)/%.c,$(B)/gen/%.o,$(filter $(GEN)/$(1)/%,$(GENERATED)))
$(B)/lib$(1).a: $$(OBJ_$(1))
	$$(call say,AR,$$@)
	$$(Q)rm -f $$@ && ar rcs $$@ $$(OBJ_$(1))
endef

libs_of  = $(foreach m,$(1),$(LIBS_$(m)))
archives = $(foreach m,$(MODULES),$(if $(filter $(m),$(1)),$(B)/lib$(m).a))
pkglibs  = $(if $(strip $(1)),$(shell $(PKG) --libs $(1)))

ifeq ($(V),1)
say =
Q   =
else
say = @printf '  %-5s %s\n' $(1) $(2)
Q   = @
endif

ALL_PROGRAMS := $(foreach p,$(PROGRAMS),$(if $(wildcard cmd/$(subst -,_,$p).c cmd/$(subst -,_,$p)/*.c),$(B)/$p))

.PHONY: all
all: $(ALL_PROGRAMS)

$(foreach m,$(MODULES),$(eval $(call module_rules,$(m))))

CFLAGS_PKG := $(shell $(PKG) --cflags $(sort $(foreach m,$(MODULES),$(LIBS_$(m)))) 2>/dev/null)

$(B)/%.o: %.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(BASE) $(WARN) $(VFLAGS) $(CFLAGS_PKG) $(DEPFLAGS) $(CFLAGS) -c -o $@ $<

# It may call nobody: the compiler is not to know better.
$(B)/runtime/protect_entry.o: VFLAGS += -fno-builtin -fno-stack-protector $(FREESTANDING_$(VARIANT))
FREESTANDING_release := -fno-tree-loop-distribute-patterns

$(B)/gen/%.o: $(GEN)/%.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(BASE) $(WARN) $(VFLAGS) $(DEPFLAGS) $(CFLAGS) -c -o $@ $<

# The ECS and Logs models are tables of text; awk turns each into a C table.
$(GEN)/ecs/model_%.c: ecs/model/%.tsv ecs/model/model.awk
	$(call say,GEN,$@)
	$(Q)mkdir -p $(@D)
	$(Q)awk -v service=$* -f ecs/model/model.awk $< > $@.tmp && mv $@.tmp $@

# Names and numbers of system calls.
$(GEN)/runtime/syscalls.c: runtime/syscalls.tsv runtime/syscalls.awk
	$(call say,GEN,$@)
	$(Q)mkdir -p $(@D)
	$(Q)LC_ALL=C awk -f runtime/syscalls.awk $< > $@.tmp && mv $@.tmp $@

define program_rules
OBJ_cmd_$(1) := $(call objects,$(wildcard cmd/$(subst -,_,$(1)).c cmd/$(subst -,_,$(1))/*.c))
$(B)/$(1): $$(OBJ_cmd_$(1)) $(call archives,$(USES_$(1)))
	$$(call say,LD,$$@)
	$$(Q)$$(CC) $$(VLINK) $(if $(SAN)$(COV),-pie,$(if $(filter $(1),$(STATIC)),-static-pie $(ENTRY_$(1)),-pie)) -Wl,--as-needed -o $$@ \
		$$(OBJ_cmd_$(1)) $(call archives,$(USES_$(1))) \
		$(if $(filter $(1),$(STATIC)),$(STATIC_LIBS),$$(call pkglibs,$(call libs_of,$(USES_$(1)))) -lpthread) $$(LDFLAGS)
endef
$(foreach p,$(PROGRAMS),$(eval $(call program_rules,$(p))))

# ---- tests -----------------------------------------------------------------

# A unit test is linked with its own module and with what that module may use.
UNIT_SRC  := $(wildcard tests/unit/*/*.c)
UNIT_BIN  := $(UNIT_SRC:%.c=$(B)/%)
unit_mod   = $(word 3,$(subst /, ,$(1)))
unit_uses  = $(call unit_mod,$(1)) $(USES_$(call unit_mod,$(1)))
# System calls that a test makes fail: WRAP_tests/unit/MODULE/FILE := call ...
WRAP_tests/unit/runtime/inroot := fs_openat2
WRAP_tests/unit/image/drain := fdatasync posix_fadvise64 write
WRAP_tests/unit/image/inflate := clock_mono_ns
# Libraries that a test compares us with: PEER_tests/unit/MODULE/FILE := pkg-config name
PEER_tests/unit/runtime/filter_compile := libseccomp

define unit_rules
$(B)/$(1:.c=): $(B)/$(1:.c=.o) $(call archives,$(call unit_uses,$(1)))
	$$(call say,LD,$$@)
	$$(Q)$$(CC) $$(VLINK) -pie -Wl,--as-needed $(foreach w,$(WRAP_$(1:.c=)),-Wl,--wrap=$(w)) -o $$@ $$< \
		$(call archives,$(call unit_uses,$(1))) \
		$$(call pkglibs,cmocka $(PEER_$(1:.c=)) $(call libs_of,$(call unit_uses,$(1)))) -lpthread
endef
$(foreach t,$(UNIT_SRC),$(eval $(call unit_rules,$(t))))

# A fuzz target tests/fuzz/MODULE_WHAT.c defines LLVMFuzzerTestOneInput(). It is
# built twice: with tests/fuzz/driver/replay.c, to replay the corpus in every
# check, and with libFuzzer, to look for more (make fuzz T=MODULE_WHAT).
FUZZ_SRC  := $(wildcard tests/fuzz/*.c)
FUZZ_BIN  := $(FUZZ_SRC:%.c=$(B)/%)
fuzz_mod   = $(firstword $(subst _, ,$(notdir $(1:.c=))))
fuzz_uses  = $(call fuzz_mod,$(1)) $(USES_$(call fuzz_mod,$(1)))

define fuzz_rules
$(B)/$(1:.c=): $(B)/$(1:.c=.o) $(B)/tests/fuzz/driver/replay.o $(call archives,$(call fuzz_uses,$(1)))
	$$(call say,LD,$$@)
	$$(Q)$$(CC) $$(VLINK) -pie -Wl,--as-needed -o $$@ $$< $(B)/tests/fuzz/driver/replay.o \
		$(call archives,$(call fuzz_uses,$(1))) $$(call pkglibs,$(call libs_of,$(call fuzz_uses,$(1)))) -lpthread
endef
$(foreach t,$(FUZZ_SRC),$(eval $(call fuzz_rules,$(t))))

# Programs that run inside containers and as peers in end-to-end tests.
PROBE_SRC := $(wildcard tests/e2e/root/*.c)
PROBE_BIN := $(PROBE_SRC:%.c=$(B)/%)
$(B)/tests/e2e/root/%: tests/e2e/root/%.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -O2 -static -o $@ $<

# Small programs that show one module to an end-to-end test.
TOOL_SRC := $(wildcard tests/e2e/tools/*.c)
TOOL_BIN := $(TOOL_SRC:%.c=$(B)/%)
TOOL_USES := image rootfs net keeper runtime ecs base
$(TOOL_BIN): $(B)/tests/e2e/tools/%: $(B)/tests/e2e/tools/%.o $(call archives,$(TOOL_USES))
	$(call say,LD,$@)
	$(Q)$(CC) $(VLINK) -pie -Wl,--as-needed -o $@ $< $(call archives,$(TOOL_USES)) \
		$(call pkglibs,$(call libs_of,$(TOOL_USES))) -lpthread

# The whole cluster in virtual time: make sim SEEDS=1000.
SIM_SRC  := $(wildcard tests/sim/*.c)
SIM_USES := scheduler $(USES_scheduler)
$(B)/tests/sim/sim: $(SIM_SRC:%.c=$(B)/%.o) $(call archives,$(SIM_USES))
	$(call say,LD,$@)
	$(Q)$(CC) $(VLINK) -pie -Wl,--as-needed -o $@ $(SIM_SRC:%.c=$(B)/%.o) $(call archives,$(SIM_USES)) \
		$(call pkglibs,$(call libs_of,$(SIM_USES))) -lpthread -lm

# The core alone and the whole control plane, for tests/bench/core.py and api.py.
BENCH_SRC := $(wildcard tests/bench/*.c)
BENCH_BIN := $(BENCH_SRC:%.c=$(B)/%)
$(BENCH_BIN): $(B)/tests/bench/%: $(B)/tests/bench/%.o $(call archives,$(SIM_USES))
	$(call say,LD,$@)
	$(Q)$(CC) $(VLINK) -pie -Wl,--as-needed -o $@ $< $(call archives,$(SIM_USES)) \
		$(call pkglibs,$(call libs_of,$(SIM_USES))) -lpthread

SEEDS ?= 1000
.PHONY: sim
sim: $(B)/tests/sim/sim
	$(Q)$(B)/tests/sim/sim $(SEEDS)

.PHONY: tests
tests: all $(UNIT_BIN) $(FUZZ_BIN) $(PROBE_BIN) $(TOOL_BIN) $(B)/tests/sim/sim

BUILD_PACKAGES := gcc libc6-dev make pkg-config mawk libjansson-dev libuv1-dev libmicrohttpd-dev libsqlite3-dev \
	libgnutls28-dev libcurl4-gnutls-dev libinih-dev libpcre2-dev libarchive-dev libisal-dev liblzma-dev libzstd-dev libnl-3-dev \
	libnl-route-3-dev libcap-dev libldns-dev
RUN_PACKAGES   := docker-registry skopeo busybox-static awscli ca-certificates curl
TEST_PACKAGES  := $(RUN_PACKAGES) libcmocka-dev libseccomp-dev python3 python3-boto3 umoci buildah runc crun podman containerd uidmap criu containernetworking-plugins netavark \
	nftables iproute2 clang clang-format clang-tidy cppcheck libclang-rt-14-dev strace jq mandoc \
	qemu-system-x86 linux-image-cloud-amd64 e2fsprogs xfsprogs btrfs-progs cpio kmod procps zstd xz-utils openssl iptables time dnsmasq-base

# apt is asked only for what is not there, so a second run needs no network.
define apt
	@missing=$$(dpkg-query -W -f '$${Package} $${db:Status-Status}\n' $(1) 2>/dev/null | awk '$$2=="installed"{print $$1}' \
	  | sort > build/.have; printf '%s\n' $(1) | sort | comm -23 - build/.have); \
	if [ -n "$$missing" ]; then echo "apt: $$(echo $$missing)"; export DEBIAN_FRONTEND=noninteractive; \
	  apt-get -qq update && apt-get -qq install -y --no-install-recommends $$missing >build/apt.log 2>&1 \
	  || { tail -n 20 build/apt.log; exit 1; }; fi
endef

.PHONY: deps deps-run deps-test
deps: ; @mkdir -p build
	$(call apt,$(BUILD_PACKAGES))
deps-run: ; @mkdir -p build
	$(call apt,$(BUILD_PACKAGES) $(RUN_PACKAGES))
deps-test: ; @mkdir -p build
	$(call apt,$(BUILD_PACKAGES) $(TEST_PACKAGES))

# Everything: unit, fuzz corpora, lint, end-to-end. The last line counts them.
# The second make reads pkg-config again, now that the packages are there.
.PHONY: check
check: deps-test
	$(Q)$(MAKE) --no-print-directory check-run

.PHONY: check-run
check-run: tests
	$(Q)$(PYTHON) tests/run.py --build $(B) $(if $(SAN),--san) $(ONLY)

# The same with races that are run for hours: 100,000 rounds each instead of 2,000.
.PHONY: check-long
check-long: deps-test
	$(Q)RACES=100000 STORM_SECONDS=600 E2E_TIMEOUT=36000 $(MAKE) --no-print-directory check-run

# What needs other kernels: Debian's, with cgroup v2 alone, v1 alone, and systemd as the first process.
.PHONY: check-vm
check-vm: deps-test
	$(Q)VM_WHOLE=1 VM_TIMEOUT=3600 E2E_TIMEOUT=7200 $(MAKE) --no-print-directory check-run ONLY='25-oci-vm 34-image 95-systemd'

.PHONY: fuzz
T ?= image_reference
TIME ?= 60
fuzz:
	$(Q)sh tests/fuzz/driver/fuzz.sh '$(T)' '$(TIME)' $(call fuzz_uses,$(T))

.PHONY: bench
bench: all $(PROBE_BIN) $(BENCH_BIN) $(TOOL_BIN)
	$(Q)$(PYTHON) tests/bench/run.py --build $(B) $(ONLY)

.PHONY: lint
lint:
	$(Q)$(PYTHON) tests/lint/lint.py

.PHONY: format
format:
	$(Q)git ls-files -co --exclude-standard '*.c' '*.h' | xargs clang-format -i

# The architecture table, for tests/lint.
.PHONY: print-uses
print-uses:
	@$(foreach m,$(MODULES),echo '$(m): $(USES_$(m))';)
	@$(foreach p,$(PROGRAMS),echo 'cmd/$(p): $(USES_$(p))';)

compile_commands.json: Makefile
	$(Q)$(PYTHON) tests/lint/compile_commands.py '$(CC)' $(BASE) $(WARN) $(VFLAGS) $(CFLAGS_PKG) > $@
.PHONY: compile_commands.json

# ---- the host --------------------------------------------------------------

.PHONY: quickstart quickstart-stop
quickstart: deps-run
	$(Q)$(MAKE) --no-print-directory all
	$(Q)sh docs/quickstart/start $(B)
quickstart-stop:
	$(Q)sh docs/quickstart/stop $(B)

# Units name where the programs are. On the host itself systemd and its users
# are told; a package does that in its own scripts.
UNITS    := berthd.service berth-node.service berth-tasks.service berth.slice
on_host   = $(if $(DESTDIR),:,[ ! -d /run/systemd/system ] || $(1))

.PHONY: install uninstall
install: all
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(SBINDIR) $(DESTDIR)$(LIBEXECDIR) $(DESTDIR)$(UNITDIR) \
		$(DESTDIR)$(SYSUSERS) $(DESTDIR)$(DOCDIR)
	install -m 755 $(B)/berth $(B)/berth-oci $(DESTDIR)$(BINDIR)
	install -m 755 $(B)/berthd $(DESTDIR)$(SBINDIR)
	install -m 755 $(B)/berth-keeper $(B)/berth-worker $(B)/berth-fetcher $(B)/berth-reader $(B)/berth-uplink \
		$(B)/berth-metadata $(B)/berth-resolver $(DESTDIR)$(LIBEXECDIR)
	for unit in $(UNITS); do sed 's|/usr/libexec/berth/|$(LIBEXECDIR)/|; s|/usr/sbin/|$(SBINDIR)/|' \
		docs/systemd/$$unit >$(DESTDIR)$(UNITDIR)/$$unit && chmod 644 $(DESTDIR)$(UNITDIR)/$$unit || exit 1; done
	install -m 644 docs/systemd/berth.sysusers $(DESTDIR)$(SYSUSERS)/berth.conf
	install -m 644 docs/berth.conf README.md LICENSE $(DESTDIR)$(DOCDIR)
	@$(call on_host,{ systemd-sysusers $(SYSUSERS)/berth.conf && systemctl daemon-reload; })
uninstall:
	@$(call on_host,systemctl --quiet disable --now berthd berth-node berth-tasks || :)
	rm -f $(DESTDIR)$(BINDIR)/berth $(DESTDIR)$(BINDIR)/berth-oci $(DESTDIR)$(SBINDIR)/berthd
	rm -rf $(DESTDIR)$(LIBEXECDIR) $(DESTDIR)$(DOCDIR)
	rm -f $(UNITS:%=$(DESTDIR)$(UNITDIR)/%) $(DESTDIR)$(SYSUSERS)/berth.conf
	@$(call on_host,systemctl daemon-reload)
	@echo 'left: /etc/berth and /var/lib/berth (configuration, keys, data), the user berth'

.PHONY: clean
clean:
	rm -rf build/release build/san build/cov build/fuzz build/gen

.SECONDARY:
-include $(shell find $(B) -name '*.d' 2>/dev/null)
