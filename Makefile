# s3cache: build, test, measure.
#
#   make            the program, build/s3cache
#   make test       unit tests (seconds)          make test-FLOOR   those of one floor (base, meta, ...)
#   make itest      mounts on a real S3 server    make tidy         format, include direction, sizes
#   make asan tsan  unit tests under sanitizers   make fuzz         short runs of the fuzzers
#   make bench      the table of figures          make install DESTDIR= PREFIX=
#
# One static library a floor; a floor's tests link that floor and those below it only, so the include
# direction is checked by the linker too. BUILD= moves the whole output, CXX=clang++-14 changes the compiler.

BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
CXX     ?= g++
# Paths are relative, so one clone's objects serve the next: the folder stays out of the hash.
export CCACHE_NOHASHDIR := 1
CCACHE  := $(shell command -v ccache 2>/dev/null)
OPT     ?= -O2 -g
# Catch2's macros cost the optimizer minutes under sanitizers and give nothing back.
TEST_OPT ?= -O0 -g1

FLOORS  := base config meta cache s3 core fuse ctl app
# The floors below each floor, nearest first (link order).
DEPS_base   :=
DEPS_config := base
DEPS_meta   := base
DEPS_cache  := base
DEPS_s3     := base
DEPS_core   := config meta cache s3 base
DEPS_fuse   := core $(DEPS_core)
DEPS_ctl    := core $(DEPS_core)
DEPS_app    := fuse ctl core $(DEPS_core)

PKGS     := fuse3 libcurl openssl tinyxml2 lmdb spdlog fmt
PKG_CF   := $(shell pkg-config --cflags $(PKGS))
PKG_LIBS := $(shell pkg-config --libs $(PKGS))
WARN     := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Werror
ifneq (,$(findstring clang,$(CXX)))
WARN     += -Wthread-safety
endif
CXXFLAGS += -std=c++20 $(OPT) $(WARN) -Isrc -Itests $(PKG_CF) -DFUSE_USE_VERSION=314 -D_FILE_OFFSET_BITS=64 -pthread $(SAN)
LDFLAGS  += -pthread $(SAN)

srcs    = $(wildcard src/$(1)/*.cc)
objs    = $(patsubst %.cc,$(BUILD)/%.o,$(1))
lib     = $(BUILD)/lib$(1).a
MAINS  := src/app/main.cc

all: $(BUILD)/s3cache

define floor_rules
$(call lib,$(1)): $(call objs,$(filter-out $(MAINS),$(call srcs,$(1))))
	@mkdir -p $$(@D)
	@rm -f $$@ && ar rcs $$@ $$^
$(BUILD)/test_$(1): $(call objs,$(wildcard tests/$(1)/*.cc) tests/main.cc) $(foreach f,$(1) $(DEPS_$(1)),$(call lib,$(f)))
	@echo "  LD  $$@"
	@$(CXX) $(LDFLAGS) -o $$@ $(call objs,$(wildcard tests/$(1)/*.cc) tests/main.cc) -Wl,--start-group $(foreach f,$(1) $(DEPS_$(1)),$(call lib,$(f))) -Wl,--end-group $(PKG_LIBS)
test-$(1): $(BUILD)/test_$(1)
	$(BUILD)/test_$(1) $(TESTARGS)
.PHONY: test-$(1)
endef
$(foreach f,$(FLOORS),$(eval $(call floor_rules,$(f))))

$(BUILD)/s3cache: $(call objs,$(MAINS)) $(foreach f,$(FLOORS),$(call lib,$(f)))
	@echo "  LD  $@"
	@$(CXX) $(LDFLAGS) -o $@ $(call objs,$(MAINS)) -Wl,--start-group $(foreach f,$(FLOORS),$(call lib,$(f))) -Wl,--end-group $(PKG_LIBS)

# Micro-benchmarks, by name: make build/bench_meta
$(BUILD)/bench_%: $(BUILD)/tests/bench/bench_%.o $(call lib,%) $(call lib,base)
	$(CXX) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)

# Hit ratios of eviction rules: make build/cache_sim
$(BUILD)/cache_sim: $(BUILD)/tests/bench/cache_sim.o $(call lib,cache) $(call lib,base)
	$(CXX) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)

$(BUILD)/%.o: %.cc
	@mkdir -p $(@D)
	@echo "  CXX $<"
	@$(CCACHE) $(CXX) $(CXXFLAGS) $(if $(filter tests/%,$<),$(TEST_OPT)) -MMD -MP -c -o $@ $<

TESTED := $(foreach f,$(FLOORS),$(if $(wildcard tests/$(f)/*.cc),$(f)))
test: $(foreach f,$(TESTED),test-$(f))

asan:
	$(MAKE) BUILD=$(BUILD)-asan SAN="-fsanitize=address,undefined -fno-sanitize-recover=all" OPT="-O1 -g" test
tsan:
	$(MAKE) BUILD=$(BUILD)-tsan SAN="-fsanitize=thread" OPT="-O1 -g1" test

itest: all
	scripts/itest
tidy:
	scripts/tidy
fuzz:
	scripts/fuzz
bench: all
	scripts/bench

install: all
	install -D -m 755 $(BUILD)/s3cache $(DESTDIR)$(PREFIX)/bin/s3cache
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 man/s3cache.1
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man5 man/s3cache.5
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man7 man/s3cache.7

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan $(BUILD)-fuzz

# For scripts/fuzz, which links some floors by itself.
print-deps-%:
	@echo $(DEPS_$*)
print-libs:
	@echo $(PKG_LIBS)

.PHONY: print-libs all test asan tsan itest tidy fuzz bench install clean
.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
