#!/bin/sh
# Make the secrets docker-compose.yml (and deploy/k8s) read, each in its own file. What exists is kept.
#   deploy/secrets.sh [DIRECTORY]      default: secrets/ in the repository, which git ignores
set -eu
directory=${1:-"$(dirname "$0")/../secrets"}
# The files are readable for every user, because the containers run under other ones; the directory is not.
mkdir -p "$directory"
chmod 700 "$directory"

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
keep_or_write() {
    [ -e "$directory/$1" ] || printf '%s\n' "$2" >"$directory/$1"
    chmod 644 "$directory/$1"
}

keep_or_write nats_password "$(random)"
keep_or_write postgres_password "$(random)"
keep_or_write nats_auth.conf "authorization { user: tocsin, password: \"$(cat "$directory/nats_password")\" }"
keep_or_write postgres_url "postgresql://tocsin:$(cat "$directory/postgres_password")@postgres:5432/tocsin"
echo "Secrets are in $directory"
