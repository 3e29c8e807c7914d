package lint

// servers are programs that take requests whenever they run, by the names of their
// commands without a version.
var servers = []string{
	// the web, and what stands in front of it
	"nginx", "openresty", "apache2", "httpd", "apachectl", "apache2ctl", "caddy", "lighttpd", "haproxy", "traefik", "envoy", "varnishd", "squid", "h2o", "hitch", "stunnel",
	// application servers
	"php-fpm", "gunicorn", "uvicorn", "hypercorn", "daphne", "uwsgi", "unicorn", "puma", "thin", "catalina.sh", "kc.sh", "standalone.sh", "passenger",
	// databases, caches, queues
	"postgres", "postmaster", "pg_ctlcluster", "pgbouncer", "mysqld", "mysqld_safe", "mariadbd", "mariadbd-safe", "proxysql", "mongod", "mongos",
	"redis-server", "valkey-server", "keydb-server", "redis-sentinel", "memcached", "cockroach", "influxd", "clickhouse-server", "cassandra",
	"elasticsearch", "systemd-entrypoint", "opensearch", "rabbitmq-server", "nats-server", "mosquitto", "etcd", "minio", "zookeeper",
	// names, mail, files, directories
	"named", "unbound", "dnsmasq", "coredns", "pdns_server", "knotd", "nsd", "dovecot", "exim", "slapd", "smbd", "vsftpd", "proftpd", "sshd",
	// observation and coordination
	"prometheus", "alertmanager", "grafana", "grafana-server", "loki", "tempo", "victoria-metrics", "vault", "consul", "gitea", "forgejo", "docker-registry",
}

// prefork are servers whose workers must not be sent the signal that is for their master.
var prefork = []string{"nginx", "openresty", "haproxy", "apache2", "httpd", "gunicorn", "uwsgi", "unicorn", "puma", "php-fpm"}

// gracefulSignal is how servers are told to finish their requests, where SIGTERM is for a
// stop that cuts them. Their manuals and the STOPSIGNAL of their images say so.
var gracefulSignal = map[string]string{
	"nginx": "SIGQUIT", "openresty": "SIGQUIT", "php-fpm": "SIGQUIT", "unicorn": "SIGQUIT",
	"haproxy": "SIGUSR1", "apache2": "SIGWINCH", "httpd": "SIGWINCH", "lighttpd": "SIGINT",
}

// sessions are programs whose children are to outlive them: a shell that somebody is
// logged in to, a container.
var sessions = []string{"sshd", "containerd", "dockerd", "crio", "kubelet", "k3s", "rke2", "libvirtd", "virtqemud", "cron", "crond", "atd", "salt-minion", "slurmd", "nomad", "tmux", "screen", "lxcfs"}

// clients are ends of names of programs that ask others, and are asked nothing.
var clients = []string{
	"agent", "agentd", "-client", "exporter", "worker", "cron", "crond", "celery", "sidekiq", "runner", "dhclient", "dhcpcd", "chronyd", "ntpd",
	"networkd", "timesyncd", "wpa_supplicant", "rsyslogd", "syslog-ng", "fluent-bit", "fluentd", "telegraf", "vector", "promtail", "filebeat",
	"fail2ban-server", "autossh", "ssh", "tailscaled", "cloudflared", "openvpn", "rclone", "atd", "minion", "keepalived", "scheduler",
}
