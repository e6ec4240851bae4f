#!/usr/bin/env bash
# Installs what the browser tests need (Debian's chromium and its driver) and, for the LaTeX test, TeX, where missing.
set -euo pipefail
missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v chromedriver >/dev/null || missing+=(chromium-driver)
command -v pdflatex >/dev/null || missing+=(texlive-latex-base)
{ command -v kpsewhich && kpsewhich booktabs.sty; } >/dev/null || missing+=(texlive-latex-recommended)
if [ "${#missing[@]}" -eq 0 ]; then
    exit 0
fi
sudo=()
if [ "$(id -u)" -ne 0 ]; then
    sudo=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
"${sudo[@]}" apt-get update -q
"${sudo[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}"
