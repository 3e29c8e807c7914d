package kind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"sigs.k8s.io/kind/pkg/apis/config/defaults"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	kindcluster "sigs.k8s.io/kind/pkg/cluster"
	"sigs.k8s.io/kind/pkg/cluster/nodes"
	"sigs.k8s.io/kind/pkg/cluster/nodeutils"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/ports"
	"github.com/rollout-lab/rollout-lab/internal/dockerengine"
)

// cluster is one that is in use.
type cluster struct {
	name     string
	made     bool   // by this driver
	dir      string // temporary: credentials and archives
	engine   *dockerengine.Engine
	provider *kindcluster.Provider
	ports    map[int32]string // node port -> host:port on the loopback interface
	// drainable are its workers, if a lab has made it and there are at least two.
	drainable []string
	say       func(string)

	loading sync.Mutex // one archive at a time
	loaded  map[string]bool
}

// openCluster uses the cluster of that name, or makes it.
func openCluster(ctx context.Context, config Config, name string, say func(string)) (_ *cluster, err error) {
	c, err := newCluster(ctx, name, say)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.forget())
		}
	}()
	known, err := c.provider.List()
	if err != nil {
		return nil, fmt.Errorf("list clusters: %w", err)
	}
	if !slices.Contains(known, name) {
		if err := c.create(ctx, config); err != nil {
			return nil, err
		}
		c.made = true
	} else if err := c.hasWorkers(config.Workers); err != nil {
		return nil, err
	}
	err = c.use(ctx)
	if err == nil && c.made {
		err = c.awaitNodes(ctx)
	}
	if err != nil {
		if c.made {
			err = errors.Join(err, c.remove(context.WithoutCancel(ctx)))
		}
		return nil, err
	}
	return c, nil
}

// newCluster is a cluster of which nothing is known but its name. Its end is forget.
func newCluster(ctx context.Context, name string, say func(string)) (*cluster, error) {
	e, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := makeFolder()
	if err != nil {
		e.Close()
		return nil, err
	}
	return &cluster{name: name, dir: dir, engine: e, provider: newProvider(say), say: say, loaded: map[string]bool{}}, nil
}

// forget gives back what the driver has of its own for a cluster that may live on.
func (c *cluster) forget() error {
	c.engine.Close()
	return os.RemoveAll(c.dir)
}

// hasWorkers refuses a cluster that is there and has another number of workers than was
// asked for. 0 takes any: nobody asked.
func (c *cluster) hasWorkers(want int) error {
	if want == 0 {
		return nil
	}
	workers, err := c.workers()
	if err != nil {
		return err
	}
	if got := len(workers); got != want {
		return &drivers.HintError{
			Err:  fmt.Errorf("cluster %s has %d workers, not %d: %w", c.name, got, want, drivers.ErrUnavailable),
			Hint: "name another cluster, which is then made, or remove this one with kind delete cluster --name " + c.name,
		}
	}
	return nil
}

func newProvider(say func(string)) *kindcluster.Provider {
	return kindcluster.NewProvider(kindcluster.ProviderWithDocker(), kindcluster.ProviderWithLogger(logger{say}))
}

func (c *cluster) kubeconfig() string { return filepath.Join(c.dir, "kubeconfig") }

// use reads how a cluster that exists is reached.
func (c *cluster) use(ctx context.Context) error {
	var err error
	if c.ports, err = mappedPorts(ctx, c.engine, c.name); err != nil {
		return fmt.Errorf("cluster %s: %w", c.name, err)
	}
	if len(c.ports) == 0 {
		return &drivers.HintError{
			Err:  fmt.Errorf("cluster %s maps no node port to 127.0.0.1: %w", c.name, drivers.ErrUnavailable),
			Hint: "name a cluster that does not exist, so that the lab makes one with such ports",
		}
	}
	text, err := c.provider.KubeConfig(c.name, false)
	if err != nil {
		return fmt.Errorf("credentials of cluster %s: %w", c.name, err)
	}
	if err := os.WriteFile(c.kubeconfig(), []byte(text), 0o600); err != nil {
		return err
	}
	if c.drainable, err = c.findDrainable(ctx); err != nil {
		return fmt.Errorf("nodes of cluster %s: %w", c.name, err)
	}
	return nil
}

// create makes the cluster. kind heeds no context; when ctx ends the nodes are removed,
// at which it gives up.
func (c *cluster) create(ctx context.Context, config Config) error {
	image, err := nodeImage(ctx, c.engine, config, c.say)
	if err != nil {
		return err
	}
	// Another program may take one before Docker does; kind then says so.
	free, err := ports.New().Take(portsMapped)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, createLimit, fmt.Errorf("not made within %v", createLimit))
	defer cancel()
	c.say("making cluster " + c.name + " of " + image)
	made := make(chan error, 1)
	go func() {
		made <- c.provider.Create(c.name,
			kindcluster.CreateWithV1Alpha4Config(describe(config.Workers, free)),
			kindcluster.CreateWithNodeImage(image),
			kindcluster.CreateWithKubeconfigPath(c.kubeconfig()),
			kindcluster.CreateWithWaitForReady(readyLimit),
			kindcluster.CreateWithRetain(true), // until it was seen what a node has said
			kindcluster.CreateWithDisplayUsage(false),
			kindcluster.CreateWithDisplaySalutation(false),
		)
	}()
	select {
	case err = <-made:
		if err != nil {
			err = errors.Join(fmt.Errorf("%w; %s", withOutput(err), c.lastWords(ctx)), c.remove(context.WithoutCancel(ctx)))
		}
	case <-ctx.Done():
		err = errors.Join(context.Cause(ctx), c.abandon(context.WithoutCancel(ctx), made))
	}
	if err != nil {
		return fmt.Errorf("make cluster %s: %w", c.name, err)
	}
	return nil
}

// abandon removes the nodes until the creation has given up. Nodes may be made meanwhile,
// so it looks again after that.
func (c *cluster) abandon(ctx context.Context, made <-chan error) error {
	err := c.remove(ctx)
	<-made
	return errors.Join(err, c.remove(ctx))
}

// remove removes the cluster.
func (c *cluster) remove(ctx context.Context) error {
	return removeCluster(ctx, c.provider, c.name, c.kubeconfig())
}

func removeCluster(ctx context.Context, provider *kindcluster.Provider, name, kubeconfig string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, deleteLimit, fmt.Errorf("not removed within %v", deleteLimit))
	defer cancel()
	removed := make(chan error, 1)
	go func() { removed <- provider.Delete(name, kubeconfig) }()
	select {
	case err := <-removed:
		if err != nil {
			return fmt.Errorf("remove cluster %s: %w", name, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("remove cluster %s: %w", name, context.Cause(ctx))
	}
}

// imageHere is the image for the nodes that was named or that the engine has.
func imageHere(ctx context.Context, e *dockerengine.Engine, config Config) (image string, here bool, err error) {
	if config.NodeImage != "" {
		return config.NodeImage, true, nil
	}
	for _, image := range append(slices.Clone(builtImages), defaults.Image) {
		if has, err := e.HasImage(ctx, image); err != nil || has {
			return image, has, err
		}
	}
	return "", false, nil
}

// nodeImage finds an image for the nodes.
func nodeImage(ctx context.Context, e *dockerengine.Engine, config Config, say func(string)) (string, error) {
	if image, here, err := imageHere(ctx, e, config); err != nil || here {
		return image, err
	}
	say("pulling " + defaults.Image)
	pull, cancel := context.WithTimeoutCause(ctx, pullLimit, fmt.Errorf("not pulled within %v", pullLimit))
	defer cancel()
	err := e.Pull(pull, defaults.Image)
	if err == nil {
		return defaults.Image, nil
	}
	if cause := context.Cause(pull); cause != nil {
		err = cause
	}
	err = fmt.Errorf("pull %s: %w", defaults.Image, err)
	if ctx.Err() == nil && config.BuildImage != nil {
		say("building a node image, because none could be pulled: " + err.Error())
		image, buildErr := config.BuildImage(ctx)
		if buildErr == nil {
			return image, nil
		}
		err = errors.Join(err, fmt.Errorf("build a node image: %w", buildErr))
	}
	return "", &drivers.HintError{
		Err:  fmt.Errorf("%w: no node image: %w", drivers.ErrUnavailable, err),
		Hint: "build one with make kindnode, or name one that the engine has",
	}
}

// describe is the cluster that is made.
func describe(workers int, published []int) *v1alpha4.Cluster {
	control := v1alpha4.Node{Role: v1alpha4.ControlPlaneRole, Labels: map[string]string{labelMade: "true"}}
	for i, p := range published {
		control.ExtraPortMappings = append(control.ExtraPortMappings, v1alpha4.PortMapping{
			ContainerPort: int32(firstNodePort + i), HostPort: int32(p), ListenAddress: "127.0.0.1", Protocol: v1alpha4.PortMappingProtocolTCP,
		})
	}
	c := &v1alpha4.Cluster{
		Nodes:                []v1alpha4.Node{control},
		Networking:           v1alpha4.Networking{APIServerAddress: "127.0.0.1"},
		KubeadmConfigPatches: tuning,
	}
	for range workers {
		c.Nodes = append(c.Nodes, v1alpha4.Node{Role: v1alpha4.WorkerRole})
	}
	v1alpha4.SetDefaultsCluster(c)
	return c
}

// tuning makes a cluster that nobody uses cost less: there is nobody to win an election
// against, and nothing in it that has to survive the machine. kubeadm's way of writing
// arguments changed between v1beta3, which kind writes up to Kubernetes 1.35, and v1beta4,
// where a list replaces the one that kind writes and so repeats it.
var tuning = []string{
	`apiVersion: kubeadm.k8s.io/v1beta3
kind: ClusterConfiguration
controllerManager: {extraArgs: {leader-elect: "false"}}
scheduler: {extraArgs: {leader-elect: "false"}}
etcd: {local: {extraArgs: {unsafe-no-fsync: "true"}}}
`, `apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
controllerManager: {extraArgs: [{name: enable-hostpath-provisioner, value: "true"}, {name: leader-elect, value: "false"}]}
scheduler: {extraArgs: [{name: leader-elect, value: "false"}]}
etcd: {local: {extraArgs: [{name: unsafe-no-fsync, value: "true"}]}}
`, `apiVersion: kubeadm.k8s.io/v1beta3
kind: InitConfiguration
nodeRegistration: {kubeletExtraArgs: {housekeeping-interval: 60s}}
`, `kind: KubeletConfiguration
volumeStatsAggPeriod: -1s
`}

// load loads an archive of an image into every node that does not have the image.
func (c *cluster) load(ctx context.Context, image, archive string) error {
	c.loading.Lock()
	defer c.loading.Unlock()
	if c.loaded[image] {
		return nil
	}
	all, err := c.provider.ListInternalNodes(c.name)
	if err != nil {
		return fmt.Errorf("nodes of cluster %s: %w", c.name, err)
	}
	for _, node := range all {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if has, err := c.nodeHas(ctx, node, image); err != nil || has {
			if err != nil {
				return err
			}
			continue
		}
		f, err := os.Open(archive)
		if err != nil {
			return err
		}
		err = nodeutils.LoadImageArchive(node, f)
		f.Close()
		if err != nil {
			return fmt.Errorf("load %s into node %s: %w", image, node, withOutput(err))
		}
	}
	c.loaded[image] = true
	return nil
}

// nodeHas asks a node's container runtime for an image by its exact name.
func (c *cluster) nodeHas(ctx context.Context, node nodes.Node, image string) (bool, error) {
	out, err := c.engine.Exec(ctx, node.String(), nil, "ctr", "--namespace", "k8s.io", "images", "ls", "--quiet", "name=="+image)
	return strings.TrimSpace(out) != "", err
}

// withOutput keeps what a command that failed has printed.
func withOutput(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return err
}
