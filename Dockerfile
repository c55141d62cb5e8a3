# understory-sync as a static binary on an empty image.
#
#   docker build -t understory-sync .
#   docker buildx build --platform linux/amd64,linux/arm64 -t understory-sync .
#
# The base is pinned to one exact release. To pin its bytes as well, look its digest up and write it behind the tag, for all platforms
# at once: docker buildx imagetools inspect rust:1.95.0-slim-bookworm --format '{{.Manifest.Digest}}', then FROM rust:…@sha256:…
FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /build
SHELL ["/bin/sh", "-eu", "-c"]

RUN apt-get update \
    && apt-get install --yes --no-install-recommends musl-tools=1.2.3-1 \
    && rm -rf /var/lib/apt/lists/*
# The same file for either processor: whatever this stage runs on is what it builds for.
RUN target="$(uname -m)-unknown-linux-musl"; echo "$target" >/target \
    && { [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ] || rustup target add "$target"; }

# The dependencies alone, with an empty program around them: built anew only when they change.
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
# A member of the workspace that only tests use: cargo asks for its manifest, and nothing of it is built.
COPY mock-api/Cargo.toml mock-api/
RUN mkdir -p src tests/it mock-api/src && echo 'fn main() {}' >src/main.rs && touch src/lib.rs tests/it/main.rs mock-api/src/lib.rs \
    && cargo build --release --locked --target "$(cat /target)" --bin understory-sync \
    && rm -rf src tests

COPY migrations migrations
COPY src src
# What was checked out long ago must still count as newer than the empty program.
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked --target "$(cat /target)" --bin understory-sync \
    && install -D -m 755 "target/$(cat /target)/release/understory-sync" /image/usr/bin/understory-sync \
    && install -D -m 644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
    && install -d -m 700 -o 65532 -g 65532 /image/data

# No shell, no package manager, no libc. Time zones need no files: the binary carries them.
FROM scratch
COPY --from=build /image /
# A number, so that Kubernetes' runAsNonRoot can see that it is not root.
USER 65532:65532
# All that is ever written is in here; the rest may be read-only.
VOLUME ["/data"]
WORKDIR /data
# Taken where neither database.url nor its variable names another.
ENV DATABASE_URL=sqlite:///data/understory.db
ENTRYPOINT ["/usr/bin/understory-sync"]
STOPSIGNAL SIGTERM
# The first run of a large company takes its time; from then on the last complete run has to be fresh.
HEALTHCHECK --interval=30s --timeout=10s --start-period=10m --retries=3 CMD ["/usr/bin/understory-sync", "healthcheck"]

ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="understory-sync" \
      org.opencontainers.image.description="Keeps a company's Understory marketing consents in a SQL table of its own" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.base.name="scratch" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
