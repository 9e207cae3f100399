{{/* What only the servers' pods have. */}}

{{/* A probe. Argument: dict "root" $ "path" PATH "service" NAME "timing" TIMING. */}}
{{- define "tidalserve.probe" -}}
{{- $server := .root.Values.server }}
{{- if eq $server.probes.type "grpc" }}
grpc: {port: {{ $server.ports.grpc }}, service: {{ .service | quote }}}
{{- else }}
httpGet:
  path: {{ .path }}
  port: {{ include "tidalserve.healthPort" $server.ports }}
  scheme: {{ include "tidalserve.healthScheme" (dict "root" .root "ports" $server.ports) }}
{{- end }}
{{ toYaml .timing }}
{{- end }}

{{/* Resources with the GPUs among the limits. */}}
{{- define "tidalserve.serverResources" -}}
{{- $server := .Values.server }}
{{- $limits := $server.resources.limits | default dict }}
{{- if eq .Values.image.variant "cuda" }}
{{- $limits = merge (dict $server.gpu.resource (int $server.tensorParallelSize)) $limits }}
{{- end }}
{{- with $server.resources.requests }}
requests:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $limits }}
limits:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Several processes share out the container's processors by themselves: the variable is for each. */}}
{{- define "tidalserve.serverEnv" -}}
{{- $server := .Values.server }}
{{- $alone := eq (int $server.tensorParallelSize) 1 }}
{{- if and (eq .Values.image.variant "cpu") $alone (not (hasKey $server.config "num_threads")) }}
# As many threads as the container may use; without a limit, as the node has.
- name: TIDAL_NUM_THREADS
  valueFrom: {resourceFieldRef: {resource: limits.cpu}}
{{- end }}
{{- with $server.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Size of /dev/shm; empty: the runtime's own. CUDA of several GPUs may share memory there. */}}
{{- define "tidalserve.sharedMemory" -}}
{{- $server := .Values.server }}
{{- $several := and (eq .Values.image.variant "cuda") (gt (int $server.tensorParallelSize) 1) }}
{{- $server.sharedMemory.size | default ($several | ternary "1Gi" "") }}
{{- end }}

{{- define "tidalserve.serverMounts" -}}
{{- if include "tidalserve.claim" . }}
- {name: models, mountPath: /mnt/models, readOnly: true}
{{- end }}
{{- if include "tidalserve.sharedMemory" . }}
- {name: shared-memory, mountPath: /dev/shm}
{{- end }}
{{- end }}

{{- define "tidalserve.serverVolumes" -}}
{{- with include "tidalserve.claim" . }}
- name: models
  persistentVolumeClaim: {claimName: {{ . }}}
{{- end }}
{{- with include "tidalserve.sharedMemory" . }}
- name: shared-memory
  emptyDir: {medium: Memory, sizeLimit: {{ . }}}
{{- end }}
{{- end }}
