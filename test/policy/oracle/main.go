// An oracle for NetworkPolicy that shares nothing with the agent: cyclonus's matcher judges connections, the API's own
// machinery judges label selectors. Manifests and questions as JSON values on stdin, one answer for each on stdout.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Either connections in a world, or a selector and the labels it is to be held against.
type question struct {
	Namespaces []core.Namespace           `json:"namespaces"`
	Pods       []core.Pod                 `json:"pods"`
	Policies   []networking.NetworkPolicy `json:"policies"`
	Probes     []probe                    `json:"probes"`

	Selector *meta.LabelSelector `json:"selector"`
	Labels   []map[string]string `json:"labels"`
}

type probe struct {
	From     end           `json:"from"`
	To       end           `json:"to"`
	Protocol core.Protocol `json:"protocol"`
	// Of the destination; 0 where the protocol has none.
	Port int32 `json:"port"`
}

// The address that is used; of a pod, "namespace/name", or of nobody.
type end struct {
	Pod string `json:"pod"`
	IP  string `json:"ip"`
}

type verdict struct {
	Egress  bool `json:"egress"`
	Ingress bool `json:"ingress"`
}

type answer struct {
	Verdicts []verdict `json:"verdicts,omitempty"`
	Matches  []bool    `json:"matches,omitempty"`
}

func main() {
	input := json.NewDecoder(os.Stdin)
	input.DisallowUnknownFields()
	output := json.NewEncoder(os.Stdout)
	for {
		var asked question
		err := input.Decode(&asked)
		if errors.Is(err, io.EOF) {
			return
		}
		var told answer
		if err == nil {
			told, err = asked.answer()
		}
		if err == nil {
			err = output.Encode(told)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "policy-oracle:", err)
			os.Exit(1)
		}
	}
}

func (q *question) answer() (answer, error) {
	if q.Selector != nil {
		return q.matches()
	}
	policy := matcher.BuildNetworkPolicies(false, defaulted(q.Policies))
	world := newWorld(q)
	told := answer{Verdicts: make([]verdict, 0, len(q.Probes))}
	for _, asked := range q.Probes {
		judged, err := world.judge(policy, asked)
		if err != nil {
			return answer{}, err
		}
		told.Verdicts = append(told.Verdicts, judged)
	}
	return told, nil
}

func (q *question) matches() (answer, error) {
	selector, err := meta.LabelSelectorAsSelector(q.Selector)
	if err != nil {
		return answer{}, err
	}
	told := answer{}
	for _, each := range q.Labels {
		told.Matches = append(told.Matches, selector.Matches(labels.Set(each)))
	}
	return told, nil
}

// What the API server fills in before anybody sees a policy (NetworkPolicySpec.policyTypes); cyclonus insists on it.
func defaulted(policies []networking.NetworkPolicy) []*networking.NetworkPolicy {
	ready := make([]*networking.NetworkPolicy, 0, len(policies))
	for i := range policies {
		spec := &policies[i].Spec
		if len(spec.PolicyTypes) == 0 {
			spec.PolicyTypes = []networking.PolicyType{networking.PolicyTypeIngress}
			if len(spec.Egress) > 0 {
				spec.PolicyTypes = append(spec.PolicyTypes, networking.PolicyTypeEgress)
			}
		}
		ready = append(ready, &policies[i])
	}
	return ready
}
