package dockerengine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/docker/docker/client"
)

// Address is where an engine is.
type Address struct {
	// Host is a URL, as in DOCKER_HOST.
	Host string
	// TLS is a folder with ca.pem, cert.pem and key.pem; "" without.
	TLS string
	// Context is the docker context that names the engine; "" when none does.
	Context string
}

// String is the address for people.
func (a Address) String() string {
	if a.Context != "" {
		return a.Host + " (docker context " + a.Context + ")"
	}
	return a.Host
}

// Find finds the engine as the docker command does (DOCKER_HOST, DOCKER_CONTEXT, the
// current context of its configuration), and then looks for a socket where engines put it,
// those without root included. It asks no engine whether it is there.
func Find() (Address, error) {
	if h := os.Getenv(client.EnvOverrideHost); h != "" {
		return Address{Host: h}, nil
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
		return Address{}, err
	}
	if name != "" && name != "default" {
		return readContext(folder, name)
	}
	if runtime.GOOS == "windows" {
		return Address{Host: client.DefaultDockerHost}, nil
	}
	sockets := []string{
		strings.TrimPrefix(client.DefaultDockerHost, "unix://"),
		filepath.Join("/run/user", strconv.Itoa(os.Getuid()), "docker.sock"),
		filepath.Join(home, ".docker", "run", "docker.sock"),
		filepath.Join(home, ".docker", "desktop", "docker.sock"),
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		sockets = append(sockets, filepath.Join(dir, "docker.sock"))
	}
	for _, s := range sockets {
		if info, err := os.Stat(s); err == nil && info.Mode().Type() == fs.ModeSocket {
			return Address{Host: "unix://" + s}, nil
		}
	}
	return Address{}, fmt.Errorf("no socket of an engine among %q", sockets)
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
func readContext(folder, name string) (Address, error) {
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:])
	file := filepath.Join(folder, "contexts", "meta", id, "meta.json")
	b, err := os.ReadFile(file)
	if err != nil {
		return Address{}, fmt.Errorf("docker context %s: %w", name, err)
	}
	var meta struct {
		Endpoints map[string]struct{ Host string }
	}
	if err := json.Unmarshal(b, &meta); err != nil {
		return Address{}, fmt.Errorf("docker context %s: %s: %w", name, file, err)
	}
	a := Address{Host: meta.Endpoints["docker"].Host, Context: name}
	if a.Host == "" {
		return Address{}, fmt.Errorf("docker context %s names no engine", name)
	}
	certs := filepath.Join(folder, "contexts", "tls", id, "docker")
	if _, err := os.Stat(certs); err == nil {
		a.TLS = certs
	}
	return a, nil
}

func (a Address) options() []client.Opt {
	opts := []client.Opt{client.FromEnv, client.WithHost(a.Host)}
	if a.TLS != "" {
		opts = append(opts, client.WithTLSClientConfig(
			filepath.Join(a.TLS, "ca.pem"), filepath.Join(a.TLS, "cert.pem"), filepath.Join(a.TLS, "key.pem")))
	}
	return opts
}

// Variables is what the docker command needs in its environment to use this engine: none
// where it finds it by itself, as it knows DOCKER_HOST, contexts and the default socket.
func (a Address) Variables() map[string]string {
	if a.Context != "" || a.Host == os.Getenv(client.EnvOverrideHost) || a.Host == client.DefaultDockerHost {
		return nil
	}
	return map[string]string{client.EnvOverrideHost: a.Host}
}

// Socket says whether the engine is reached by a Unix socket.
func (a Address) Socket() bool { return strings.HasPrefix(a.Host, "unix:") }

// onThisMachine reports an error for an engine that is reached over the network.
func (a Address) onThisMachine() error {
	u, err := url.Parse(a.Host)
	if err != nil {
		return fmt.Errorf("engine at %v: %w", a, err)
	}
	switch u.Scheme {
	case "unix", "npipe":
		return nil
	}
	name := u.Hostname()
	if ip := net.ParseIP(name); name == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("the engine at %v is on another machine", a)
}
