package build_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kind/pkg/cluster"

	"github.com/rollout-lab/rollout-lab/images/kindnode/build"
)

const clusterConfig = `
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
- role: control-plane
- role: worker
`

// The image is one when a cluster of it works: nodes are Ready, names resolve, and a pod
// reaches a service that is served from another node.
func TestClusterOfTheImage(t *testing.T) {
	if !slices.Contains(strings.Split(os.Getenv("ROLLOUT_LAB_REQUIRE"), ","), "kind") {
		t.Skip("ROLLOUT_LAB_REQUIRE does not name kind: this test may take minutes and makes a cluster")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	tag, err := build.Ensure(ctx, build.Options{Progress: t.Output()})
	if err != nil {
		t.Fatalf("%v\nhint: %s", err, build.Hint(err))
	}

	const name = "rollout-lab-nodetest"
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	provider := cluster.NewProvider(cluster.ProviderWithDocker())
	t.Cleanup(func() {
		if err := provider.Delete(name, kubeconfig); err != nil {
			t.Errorf("delete the cluster: %v", err)
		}
	})
	start := time.Now()
	if err := provider.Create(name, cluster.CreateWithRawConfig([]byte(clusterConfig)), cluster.CreateWithNodeImage(tag),
		cluster.CreateWithKubeconfigPath(kubeconfig), cluster.CreateWithWaitForReady(2*time.Minute)); err != nil {
		t.Fatalf("create a cluster of %s: %v", tag, err)
	}
	t.Logf("cluster of %s: ready after %.1f s", tag, time.Since(start).Seconds())

	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	version, err := client.Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	if version.GitVersion != build.KubernetesVersion {
		t.Errorf("server version %s, want %s", version.GitVersion, build.KubernetesVersion)
	}

	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	named := func(name string) metav1.ListOptions {
		return metav1.ListOptions{FieldSelector: "metadata.name=" + name}
	}
	deployments, err := client.AppsV1().Deployments("kube-system").Watch(ctx, named("coredns"))
	await(t, "CoreDNS to be available", deployments, err, func(obj runtime.Object) bool {
		d := obj.(*appsv1.Deployment)
		return d.Status.AvailableReplicas > 0 && d.Status.AvailableReplicas == *d.Spec.Replicas
	})
	accounts, err := client.CoreV1().ServiceAccounts("default").Watch(ctx, named("default"))
	await(t, "what a pod cannot be created without", accounts, err, func(runtime.Object) bool { return true })

	// By name through CoreDNS, from there by kube-proxy to the API server on the other node.
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "asks", Namespace: "default"},
		Spec: corev1.PodSpec{
			NodeName:      name + "-worker",
			RestartPolicy: corev1.RestartPolicyNever,
			Containers: []corev1.Container{{
				Name:    "kubectl",
				Image:   "registry.k8s.io/kube-apiserver:" + build.KubernetesVersion,
				Command: []string{"kubeall", "kubectl", "version"},
				Env:     []corev1.EnvVar{{Name: "KUBERNETES_SERVICE_HOST", Value: "kubernetes.default.svc.cluster.local"}},
			}},
		},
	}
	if _, err := client.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var phase corev1.PodPhase
	pods, err := client.CoreV1().Pods("default").Watch(ctx, named("asks"))
	await(t, "the pod to end", pods, err, func(obj runtime.Object) bool {
		phase = obj.(*corev1.Pod).Status.Phase
		return phase == corev1.PodSucceeded || phase == corev1.PodFailed
	})
	said, err := client.CoreV1().Pods("default").GetLogs("asks", &corev1.PodLogOptions{}).DoRaw(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if phase != corev1.PodSucceeded || !strings.Contains(string(said), "Server Version: "+build.KubernetesVersion) {
		t.Errorf("the pod ended as %s and said:\n%s", phase, said)
	}

	// What is sent to a pod that has gone stays on the node.
	for _, node := range []string{name + "-control-plane", name + "-worker"} {
		routes, err := exec.CommandContext(ctx, "docker", "exec", node, "ip", "route", "show", "type", "unreachable").CombinedOutput()
		if err != nil {
			t.Fatalf("routes of %s: %v: %s", node, err, routes)
		}
		if !strings.Contains(string(routes), "10.244.0.0/16") {
			t.Errorf("%s has no unreachable route for the pods' addresses, only %q", node, routes)
		}
		failed, err := exec.CommandContext(ctx, "docker", "exec", node, "systemctl", "list-units", "--failed", "--plain", "--no-legend").CombinedOutput()
		if err != nil {
			t.Fatalf("units of %s: %v: %s", node, err, failed)
		}
		if len(failed) > 0 {
			t.Errorf("%s has failed units:\n%s", node, failed)
		}
	}
}

// await reads the events of a watch, which begins with what is there, until one shows what
// is waited for. The watch ends with its context.
func await(t *testing.T, what string, w watch.Interface, err error, is func(runtime.Object) bool) {
	t.Helper()
	if err != nil {
		t.Fatalf("wait for %s: %v", what, err)
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if e.Type == watch.Error {
			t.Fatalf("wait for %s: %v", what, e.Object)
		}
		if e.Type != watch.Deleted && is(e.Object) {
			return
		}
	}
	t.Fatalf("wait for %s: the watch has ended", what)
}
