// What the runtime's informer says of a pod, put to the pod that was attached. Pure: a pod and facts in, a pod out. Which
// pods there are is pods.ts'.
import type { PodFacts } from '../core/podfacts';
import type { LocalPod, NetnsOpener } from '../ports';

/** Id of the pod in that namespace; undefined when it cannot be opened: the pod is gone, or not of this node. */
export function podIdAt(opener: NetnsOpener, netnsPath: string): string | undefined {
  try {
    const netns = opener.open(netnsPath);
    const id = `${netns.device}:${netns.inode}`;
    netns.close();
    return id;
  } catch {
    return undefined;
  }
}

/**
 * A pod that was attached by hand keeps the name that it was given.
 * @returns undefined when nothing changes, or when the facts are of an earlier pod in a namespace of the same number
 */
export function withFacts(pod: LocalPod, facts: PodFacts): LocalPod | undefined {
  const { runtime } = pod;
  if (runtime !== undefined && runtime.attachment.containerId !== facts.sandboxId) return undefined;
  const told: LocalPod =
    runtime === undefined
      ? { ...pod, labels: facts.labels }
      : {
          ...pod,
          name: facts.name || pod.name,
          namespace: facts.namespace || pod.namespace,
          runtime: {
            ...runtime,
            uid: facts.uid || runtime.uid,
            annotations: { ...runtime.annotations, ...facts.annotations },
          },
          labels: facts.labels,
        };
  return JSON.stringify(told) === JSON.stringify(pod) ? undefined : told;
}

/** The same pod attached once more: what was told of it stands. */
export function keepFacts(pod: LocalPod, before: LocalPod | undefined): LocalPod {
  if (before?.labels === undefined) return pod;
  const { labels } = before;
  const [runtime, former] = [pod.runtime, before.runtime];
  if (runtime === undefined && former === undefined) return { ...pod, labels };
  if (runtime === undefined || runtime.attachment.containerId !== former?.attachment.containerId) return pod;
  const annotations = { ...former.annotations, ...runtime.annotations };
  return {
    ...pod,
    name: before.name,
    namespace: before.namespace,
    runtime: { ...runtime, uid: former.uid, annotations },
    labels,
  };
}
