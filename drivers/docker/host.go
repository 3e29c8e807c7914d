package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/docker/docker/client"
)

// host is where an engine is.
type host struct {
	host string // a URL, as in DOCKER_HOST
	tls  string // folder with ca.pem, cert.pem and key.pem; "" without
}

func (h host) options() []client.Opt {
	opts := []client.Opt{client.FromEnv, client.WithHost(h.host)}
	if h.tls != "" {
		opts = append(opts, client.WithTLSClientConfig(
			filepath.Join(h.tls, "ca.pem"), filepath.Join(h.tls, "cert.pem"), filepath.Join(h.tls, "key.pem")))
	}
	return opts
}

// findHost finds the engine as the docker command does (DOCKER_HOST, DOCKER_CONTEXT, the
// current context of its configuration), and then looks for a socket where engines put it,
// those without root included.
func findHost() (host, error) {
	if h := os.Getenv(client.EnvOverrideHost); h != "" {
		return host{host: h}, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = ""
	}
	folder := os.Getenv("DOCKER_CONFIG")
	if folder == "" {
		folder = filepath.Join(home, ".docker")
	}
	name, err := currentContext(folder)
	if err != nil {
		return host{}, err
	}
	if name != "" && name != "default" {
		return readContext(folder, name)
	}
	if runtime.GOOS == "windows" {
		return host{host: client.DefaultDockerHost}, nil
	}
	sockets := []string{
		"/var/run/docker.sock",
		filepath.Join("/run/user", strconv.Itoa(os.Getuid()), "docker.sock"),
		filepath.Join(home, ".docker", "run", "docker.sock"),
		filepath.Join(home, ".docker", "desktop", "docker.sock"),
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		sockets = append(sockets, filepath.Join(dir, "docker.sock"))
	}
	for _, s := range sockets {
		if info, err := os.Stat(s); err == nil && info.Mode().Type() == fs.ModeSocket {
			return host{host: "unix://" + s}, nil
		}
	}
	return host{}, fmt.Errorf("no socket of an engine among %q", sockets)
}

// currentContext is the name of the context that the docker command would use.
func currentContext(folder string) (string, error) {
	if name := os.Getenv("DOCKER_CONTEXT"); name != "" {
		return name, nil
	}
	file := filepath.Join(folder, "config.json")
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("docker context: %w", err)
	}
	var config struct{ CurrentContext string }
	if err := json.Unmarshal(b, &config); err != nil {
		return "", fmt.Errorf("docker context: %s: %w", file, err)
	}
	return config.CurrentContext, nil
}

// readContext reads where a context says that its engine is. Contexts are kept under the
// digest of their names.
func readContext(folder, name string) (host, error) {
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:])
	file := filepath.Join(folder, "contexts", "meta", id, "meta.json")
	b, err := os.ReadFile(file)
	if err != nil {
		return host{}, fmt.Errorf("docker context %s: %w", name, err)
	}
	var meta struct {
		Endpoints map[string]struct{ Host string }
	}
	if err := json.Unmarshal(b, &meta); err != nil {
		return host{}, fmt.Errorf("docker context %s: %s: %w", name, file, err)
	}
	h := host{host: meta.Endpoints["docker"].Host}
	if h.host == "" {
		return host{}, fmt.Errorf("docker context %s names no engine", name)
	}
	certs := filepath.Join(folder, "contexts", "tls", id, "docker")
	if _, err := os.Stat(certs); err == nil {
		h.tls = certs
	}
	return h, nil
}
