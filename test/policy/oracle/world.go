// Pods and namespaces by name, and one connection between two of them as cyclonus wants to be asked.
package main

import (
	"fmt"
	"maps"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	core "k8s.io/api/core/v1"
)

type world struct {
	pods       map[string]*core.Pod
	namespaces map[string]map[string]string
}

func newWorld(q *question) *world {
	w := &world{pods: map[string]*core.Pod{}, namespaces: map[string]map[string]string{}}
	for i := range q.Pods {
		w.pods[q.Pods[i].Namespace+"/"+q.Pods[i].Name] = &q.Pods[i]
	}
	for _, namespace := range q.Namespaces {
		named := map[string]string{}
		maps.Copy(named, namespace.Labels)
		named[core.LabelMetadataName] = namespace.Name // the API server's doing
		w.namespaces[namespace.Name] = named
	}
	return w
}

func (w *world) judge(policy *matcher.Policy, asked probe) (verdict, error) {
	from, err := w.peer(asked.From)
	if err != nil {
		return verdict{}, err
	}
	to, err := w.peer(asked.To)
	if err != nil {
		return verdict{}, err
	}
	told := verdict{}
	// Cyclonus takes one name of a port; a pod may have given it several.
	for _, name := range w.portNames(asked) {
		traffic := &matcher.Traffic{
			Source:           from,
			Destination:      to,
			ResolvedPort:     int(asked.Port),
			ResolvedPortName: name,
			Protocol:         asked.Protocol,
		}
		result := policy.IsTrafficAllowed(traffic)
		told.Egress = told.Egress || result.Egress.IsAllowed()
		told.Ingress = told.Ingress || result.Ingress.IsAllowed()
	}
	return told, nil
}

func (w *world) peer(asked end) (*matcher.TrafficPeer, error) {
	if asked.Pod == "" {
		return &matcher.TrafficPeer{IP: asked.IP}, nil
	}
	pod, ok := w.pods[asked.Pod]
	if !ok {
		return nil, fmt.Errorf("no pod %s", asked.Pod)
	}
	return &matcher.TrafficPeer{
		IP: asked.IP,
		Internal: &matcher.InternalPeer{
			PodLabels:       pod.Labels,
			NamespaceLabels: w.namespaces[pod.Namespace],
			Namespace:       pod.Namespace,
		},
	}, nil
}

// Of the destination's port; "" when it has none.
func (w *world) portNames(asked probe) []string {
	names := []string{}
	if pod, ok := w.pods[asked.To.Pod]; ok {
		for _, container := range pod.Spec.Containers {
			for _, port := range container.Ports {
				protocol := port.Protocol
				if protocol == "" {
					protocol = core.ProtocolTCP
				}
				if port.Name != "" && port.ContainerPort == asked.Port && protocol == asked.Protocol {
					names = append(names, port.Name)
				}
			}
		}
	}
	if len(names) == 0 {
		return []string{""}
	}
	return names
}
