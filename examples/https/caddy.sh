#!/bin/sh
# caddy.sh PORT DELAY: Caddy behind https. After SIGTERM it goes on serving for DELAY.
DIR=$(cd "$(dirname "$0")" && pwd) PORT=$1 DELAY=$2
export DIR PORT DELAY
exec caddy run --config "$DIR/Caddyfile" --adapter caddyfile
