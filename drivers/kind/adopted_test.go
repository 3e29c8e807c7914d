package kind_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kube "k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/kubernetes"
)

// existingNamespace makes a namespace that is not the lab's, in a cluster whose nodes have
// the image of the target, and the configuration of a driver for it.
func existingNamespace(t *testing.T) (kube.Interface, kubernetes.Config) {
	t.Helper()
	client, kubeconfig := newClient(t)
	n, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "somebody-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.CoreV1().Namespaces().Delete(context.Background(), n.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	imageOnNodes(t)
	return client, kubernetes.Config{Kubeconfig: kubeconfig, Namespace: n.Name}
}

// imageOnNodes sees to it that the nodes have the target's image, as they do once something
// was deployed from manifests.
var imageOnNodes = func() func(t *testing.T) {
	var once sync.Once
	return func(t *testing.T) {
		t.Helper()
		once.Do(func() {
			env, err := newDriver(t).Deploy(t.Context(), objectsStack(manifestText(t)))
			if err != nil {
				t.Fatal(err)
			}
			if err := env.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}()

// create makes the target as its owner would.
func create(t *testing.T, client kube.Interface, namespace string) {
	t.Helper()
	for _, text := range strings.Split(manifestText(t), "---\n") {
		var err error
		var config corev1.ConfigMap
		var service corev1.Service
		var deployment appsv1.Deployment
		switch {
		case strings.Contains(text, "kind: ConfigMap"):
			if err = yaml.Unmarshal([]byte(text), &config); err == nil {
				config.Namespace = ""
				_, err = client.CoreV1().ConfigMaps(namespace).Create(t.Context(), &config, metav1.CreateOptions{})
			}
		case strings.Contains(text, "kind: Service"):
			if err = yaml.Unmarshal([]byte(text), &service); err == nil {
				_, err = client.CoreV1().Services(namespace).Create(t.Context(), &service, metav1.CreateOptions{})
			}
		default:
			if err = yaml.Unmarshal([]byte(text), &deployment); err == nil {
				_, err = client.AppsV1().Deployments(namespace).Create(t.Context(), &deployment, metav1.CreateOptions{})
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// state is what of a namespace must be the same afterwards.
type state struct {
	Spec        appsv1.DeploymentSpec
	Labels      map[string]string
	Annotations map[string]string
	Services    []string
}

func stateOf(t *testing.T, client kube.Interface, namespace string) state {
	t.Helper()
	d, err := client.AppsV1().Deployments(namespace).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	delete(d.Annotations, "deployment.kubernetes.io/revision") // the controller counts its rollouts there
	list, err := client.CoreV1().Services(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := state{Spec: d.Spec, Labels: d.Labels, Annotations: d.Annotations}
	for _, o := range list.Items {
		text, err := json.Marshal(o.Spec)
		if err != nil {
			t.Fatal(err)
		}
		s.Services = append(s.Services, o.Name+" "+string(text))
	}
	return s
}

func same(t *testing.T, what string, was, is state) {
	t.Helper()
	if !equality.Semantic.DeepEqual(was, is) {
		t.Errorf("%s: was\n%+v\nis\n%+v", what, was, is)
	}
}

func TestExisting(t *testing.T) {
	client, config := existingNamespace(t)
	d := kubernetes.New(config)
	if _, err := d.Deploy(t.Context(), objectsStack("")); err == nil || !strings.Contains(err.Error(), "no service web in namespace") {
		t.Errorf("what does not exist was deployed: %v", err)
	}
	create(t, client, config.Namespace)
	was := stateOf(t, client, config.Namespace)
	api := client.AppsV1().Deployments(config.Namespace)

	t.Run("acts and restores", func(t *testing.T) {
		env, err := d.Deploy(t.Context(), objectsStack(""))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kubernetes.New(config).Deploy(t.Context(), objectsStack("")); err == nil || !strings.Contains(err.Error(), "in use by run") {
			t.Errorf("a second lab took the same target: %v", err)
		}
		acts(t, env)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := env.Rollout(ctx, "v2"); err != nil {
			t.Error(err)
		}
		if err := env.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		same(t, "after Close", was, stateOf(t, client, config.Namespace))
		pods, err := client.CoreV1().Pods(config.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil || len(pods.Items) != 2 {
			t.Errorf("%d pods, %v, want 2", len(pods.Items), err)
		}
		if got := kinds(env); slices.Contains(got, drivers.Lost) {
			t.Errorf("events of the kinds %v", got)
		}
	})
	t.Run("manifests of what exists are refused", func(t *testing.T) {
		if _, err := d.Deploy(t.Context(), objectsStack(manifestText(t))); err == nil || !strings.Contains(err.Error(), "exists already") {
			t.Errorf("got %v", err)
		}
		same(t, "after the refusal", was, stateOf(t, client, config.Namespace))
	})
	t.Run("another number of replicas is refused", func(t *testing.T) {
		s := objectsStack("")
		s.Replicas = 3
		if _, err := d.Deploy(t.Context(), s); err == nil || !strings.Contains(err.Error(), "has 2 replicas, and the scenario says 3") {
			t.Errorf("got %v", err)
		}
		same(t, "after the refusal", was, stateOf(t, client, config.Namespace))
	})
	t.Run("cancelled in the middle", func(t *testing.T) {
		env, err := d.Deploy(t.Context(), objectsStack(""))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		watch := env.Watch()
		done := make(chan error, 1)
		go func() { done <- env.Restart(ctx) }()
		for e := range watch {
			if e.Kind == drivers.Terminating { // of the first that is replaced
				cancel()
				break
			}
		}
		go func() { //nolint:errcheck // only so that nobody waits for a reader
			for range watch {
			}
		}()
		if err := <-done; err == nil {
			t.Error("a restart that was cancelled says that it is complete")
		}
		if err := env.Close(ctx); err != nil { // nobody gets any more time
			t.Errorf("close: %v", err)
		}
		same(t, "after Close", was, stateOf(t, client, config.Namespace))
	})
	t.Run("somebody else changes it", func(t *testing.T) {
		env, err := d.Deploy(t.Context(), objectsStack(""))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := env.Restart(ctx); err != nil {
			t.Error(err)
		}
		change := []byte(`{"spec":{"replicas":1,"template":{"spec":{"terminationGracePeriodSeconds":6}}}}`)
		if _, err := api.Patch(ctx, "web", types.MergePatchType, change, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		for what, do := range map[string]func() error{
			"scale": func() error { return env.Scale(ctx, 4) }, "restart": func() error { return env.Restart(ctx) },
			"rollout": func() error { return env.Rollout(ctx, "v2") },
		} {
			if err := do(); err == nil || !strings.Contains(err.Error(), "changed by somebody else: spec.replicas is 1") || !strings.Contains(err.Error(), "spec.template is another") {
				t.Errorf("%s: %v", what, err)
			}
		}
		var hint *drivers.HintError
		if err := env.Close(ctx); !errors.As(err, &hint) || !strings.Contains(err.Error(), "left as it is") {
			t.Errorf("close: %v, want it to say what was changed", err)
		}
		is := stateOf(t, client, config.Namespace)
		if *is.Spec.Replicas != 1 || *is.Spec.Template.Spec.TerminationGracePeriodSeconds != 6 {
			t.Errorf("the change of somebody else is lost: %+v", is.Spec)
		}
		undo := []byte(`{"spec":{"replicas":2,"template":{"spec":{"terminationGracePeriodSeconds":5}}}}`)
		if _, err := api.Patch(ctx, "web", types.MergePatchType, undo, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		same(t, "once that is taken back too", was, stateOf(t, client, config.Namespace))
	})
	t.Run("a lab that was killed", func(t *testing.T) {
		lab := startAdoptingLab(t, config)
		if equality.Semantic.DeepEqual(was, stateOf(t, client, config.Namespace)) {
			t.Fatal("the lab has changed nothing: the test shows nothing")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if removed, err := d.Sweep(ctx, ""); err != nil || len(removed) > 0 {
			t.Errorf("of a living lab %v was taken away, %v", removed, err)
		}
		if err := lab.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		lab.Wait() //nolint:errcheck // it was killed
		removed, err := kubernetes.New(kubernetes.Config{Kubeconfig: config.Kubeconfig}).Sweep(ctx, "")
		if err != nil || !strings.Contains(strings.Join(removed, "\n"), "changes to deployment web in namespace "+config.Namespace) {
			t.Errorf("sweep: %v, %v", removed, err)
		}
		same(t, "after Sweep", was, stateOf(t, client, config.Namespace))
		if again, err := d.Sweep(ctx, ""); err != nil || len(again) > 0 {
			t.Errorf("a second sweep removed %v, %v", again, err)
		}
	})
}

// TestManifestsInANamespaceThatStays: everything of the lab's is removed, nothing else.
func TestManifestsInANamespaceThatStays(t *testing.T) {
	beside(t)
	client, config := existingNamespace(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if _, err := client.CoreV1().ConfigMaps(config.Namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	empty := func(what string) {
		t.Helper()
		maps, err := client.CoreV1().ConfigMaps(config.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range maps.Items {
			if m.Name != "kept" && m.Name != "kube-root-ca.crt" {
				t.Errorf("%s: config map %s is left", what, m.Name)
			}
		}
		if !slices.ContainsFunc(maps.Items, func(m corev1.ConfigMap) bool { return m.Name == "kept" }) {
			t.Errorf("%s: what is not the lab's is gone", what)
		}
		deployments, err := client.AppsV1().Deployments(config.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil || len(deployments.Items) > 0 {
			t.Errorf("%s: deployments %v, %v", what, deployments.Items, err)
		}
		services, err := client.CoreV1().Services(config.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil || len(services.Items) > 0 {
			t.Errorf("%s: services %v, %v", what, services.Items, err)
		}
		pods, err := client.CoreV1().Pods(config.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil || len(pods.Items) > 0 {
			t.Errorf("%s: pods %v, %v", what, pods.Items, err)
		}
	}
	env, err := kubernetes.New(config).Deploy(ctx, objectsStack(manifestText(t)))
	if err != nil {
		t.Fatal(err)
	}
	serves(t, env)
	if err := env.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
	empty("after Close")
	s := objectsStack(manifestText(t))
	if _, err = kubernetes.New(config).Deploy(ctx, s); err != nil { // by a driver that forgets it
		t.Fatal(err)
	}
	removed, err := kubernetes.New(config).Sweep(ctx, s.RunID)
	if err != nil || len(removed) != 1 {
		t.Errorf("sweep: %v, %v", removed, err)
	}
	empty("after Sweep")
}
