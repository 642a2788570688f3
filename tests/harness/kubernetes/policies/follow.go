// How do NetworkPolicies come to hold on this node? Watches what they speak of and gives nftables a new
// table when another one follows from it. What the test cluster needs, not what a large one would.
package policies

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

const (
	// Changes come in bursts; a table is written at most so often.
	atMostEvery = 50 * time.Millisecond
	// When nft refused, or somebody else took the table away.
	againAfter = 10 * time.Second
	nftAtMost  = 30 * time.Second
)

func NewCommand() *cobra.Command {
	var kubeconfig, table, bridge, health string
	command := &cobra.Command{
		Use:  "network-policies",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return follow(command.Context(), kubeconfig, table, bridge, health)
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "who it is to the apiserver")
	command.Flags().StringVar(&table, "table", "", "name of its table of nftables, in the family inet")
	command.Flags().StringVar(&bridge, "bridge", "", "the interface that all Pods are behind")
	command.Flags().StringVar(&health, "health-address", "", "answers 200 at /healthz once its first table holds")
	return command
}

func follow(ctx context.Context, kubeconfig, table, bridge, health string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	pods, namespaces := factory.Core().V1().Pods(), factory.Core().V1().Namespaces()
	policies := factory.Networking().V1().NetworkPolicies()
	// A doorbell: whoever rings while it rings is heard too.
	bell := make(chan struct{}, 1)
	ring := func() {
		select {
		case bell <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { ring() },
		UpdateFunc: func(any, any) { ring() },
		DeleteFunc: func(any) { ring() },
	}
	for _, informer := range []cache.SharedIndexInformer{pods.Informer(), namespaces.Informer(), policies.Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("%v cannot be listed", kind)
		}
	}
	var holds atomic.Bool
	go answerHealth(health, &holds)

	now := func() (string, error) {
		var objects Objects
		var err error
		if objects.Pods, err = pods.Lister().List(labels.Everything()); err != nil {
			return "", err
		}
		if objects.Namespaces, err = namespaces.Lister().List(labels.Everything()); err != nil {
			return "", err
		}
		if objects.Policies, err = policies.Lister().List(labels.Everything()); err != nil {
			return "", err
		}
		return Table(table, bridge, objects)
	}
	ring()
	before := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-bell:
		case <-time.After(againAfter):
			before = ""
		}
		text, err := now()
		if err == nil && text != before {
			if err = write(ctx, text); err == nil {
				before = text
				holds.Store(true)
			}
		}
		if err != nil {
			klog.ErrorS(err, "The policies do not hold as they should")
			before = ""
		}
		time.Sleep(atMostEvery)
	}
}

func write(ctx context.Context, text string) error {
	ctx, cancel := context.WithTimeout(ctx, nftAtMost)
	defer cancel()
	command := exec.CommandContext(ctx, "nft", "--file", "-")
	command.Stdin = strings.NewReader(text)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, output)
	}
	return nil
}

func answerHealth(address string, holds *atomic.Bool) {
	http.HandleFunc("/healthz", func(answer http.ResponseWriter, _ *http.Request) {
		if !holds.Load() {
			answer.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	if err := http.ListenAndServe(address, nil); err != nil {
		klog.ErrorS(err, "Nobody can ask whether the policies hold")
	}
}
