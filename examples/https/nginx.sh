#!/bin/sh
# nginx.sh PORT SIGNAL: nginx behind https. SIGTERM is passed on as SIGNAL: TERM ends it at once,
# QUIT lets what is under way finish.
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
cat >"$dir/nginx.conf" <<CONF
daemon off;
worker_processes 1;
pid $dir/pid;
error_log stderr warn;
events { worker_connections 4096; }
http {
	access_log off;
	client_body_temp_path $dir; proxy_temp_path $dir; fastcgi_temp_path $dir; uwsgi_temp_path $dir; scgi_temp_path $dir;
	server {
		listen 127.0.0.1:$1 ssl http2;
		ssl_certificate $here/cert.pem;
		ssl_certificate_key $here/key.pem;
		location / { return 200 "hello"; }
	}
}
CONF
nginx -p "$dir" -c "$dir/nginx.conf" &
pid=$!
trap 'kill -s "$2" "$pid"' TERM
while kill -0 "$pid" 2>/dev/null; do wait "$pid"; done
rm -rf "$dir"
