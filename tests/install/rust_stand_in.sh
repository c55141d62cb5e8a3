#!/bin/sh
# Makes, inside a debootstrapped Debian with Debian's rustc and its library's sources, what `rustup target add` would fetch:
# the standard library for musl, where the compiler looks for it.
set -eu
export HOME=/root RUSTC_BOOTSTRAP=1
target=$(uname -m)-unknown-linux-musl
libc=/usr/lib/$(uname -m)-linux-musl
place=$(rustc --print sysroot)/lib/rustlib/$target/lib
work=$(mktemp -d)
cd "$work"
mkdir src native
printf '[package]\nname = "empty"\nversion = "0.1.0"\nedition = "2021"\n[profile.release]\npanic = "abort"\n' >Cargo.toml
echo 'fn main() {}' >src/main.rs
# The unwinder of the C compiler at hand serves where a panic aborts, as ours does: it unwinds nothing without this function of glibc's.
cp "$(gcc -print-file-name=libgcc_eh.a)" native/libunwind.a
echo 'int _dl_find_object(void *address, void *result) { (void)address; (void)result; return -1; }' >stub.c
musl-gcc -O2 -c stub.c -o stub.o
ar r native/libunwind.a stub.o
RUSTFLAGS="-Cembed-bitcode=yes -Clink-self-contained=no -Clinker=musl-gcc -Lnative=$work/native" \
    cargo build --release -Zbuild-std=std,panic_abort --target "$target"
mkdir -p "$place/self-contained"
find "target/$target/release/deps" -name 'lib*.rlib' -exec cp {} "$place/" \;
cp "$libc/crt1.o" "$libc/rcrt1.o" "$libc/Scrt1.o" "$libc/crti.o" "$libc/crtn.o" "$libc/libc.a" native/libunwind.a "$place/self-contained/"
for object in crtbegin.o crtbeginS.o crtend.o crtendS.o; do cp "$(gcc -print-file-name=$object)" "$place/self-contained/"; done
cd /
rm -rf "$work"
# It works without help now, as it does in the image that this stands in for.
echo 'fn main() { println!("works"); }' >/tmp/try.rs
rustc -C panic=abort -C lto=fat --target "$target" -o /tmp/try /tmp/try.rs
/tmp/try
rm -f /tmp/try /tmp/try.rs
