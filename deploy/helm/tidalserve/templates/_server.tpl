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

{{/* Resources with the GPU among the limits. Argument: the servers' values. */}}
{{- define "tidalserve.serverResources" -}}
{{- $limits := .resources.limits | default dict }}
{{- if .gpu.count }}
{{- $limits = merge (dict .gpu.resource (int .gpu.count)) $limits }}
{{- end }}
{{- with .resources.requests }}
requests:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $limits }}
limits:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "tidalserve.serverEnv" -}}
{{- if not (or .gpu.count (hasKey .config "num_threads")) }}
# As many threads as the container may use; without a limit, as the node has.
- name: TIDAL_NUM_THREADS
  valueFrom: {resourceFieldRef: {resource: limits.cpu}}
{{- end }}
{{- with .extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "tidalserve.serverMounts" -}}
{{- if include "tidalserve.claim" . }}
- {name: models, mountPath: /mnt/models, readOnly: true}
{{- end }}
{{- if .Values.server.sharedMemory.size }}
- {name: shared-memory, mountPath: /dev/shm}
{{- end }}
{{- end }}

{{- define "tidalserve.serverVolumes" -}}
{{- with include "tidalserve.claim" . }}
- name: models
  persistentVolumeClaim: {claimName: {{ . }}}
{{- end }}
{{- with .Values.server.sharedMemory.size }}
- name: shared-memory
  emptyDir: {medium: Memory, sizeLimit: {{ . }}}
{{- end }}
{{- end }}
