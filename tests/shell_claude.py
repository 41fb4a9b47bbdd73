"""What plays Claude in any place that has a shell."""

from __future__ import annotations

# A `claude` for any place that has a shell: it makes a file where it works, and answers.
CLAUDE = r"""#!/bin/sh
while IFS= read -r line; do
    case $line in
    *'"control_request"'*)
        id=${line#*'"request_id":"'}
        printf '{"type":"control_response","response":{"subtype":"success","request_id":"%s",' \
            "${id%%'"'*}"
        echo '"response":{}}}' ;;
    *'"user"'*)
        uuid=${line#*'"uuid":"'}
        uuid=${uuid%%'"'*}
        echo '{"type":"command_lifecycle","command_uuid":"'$uuid'","state":"started"}'
        echo x >made
        echo '{"type":"result","subtype":"success","is_error":false,"result":"",' \
            '"terminal_reason":"completed","total_cost_usd":0.01,"usage":{},' \
            '"user_message_uuids":["'$uuid'"]}'
        echo '{"type":"command_lifecycle","command_uuid":"'$uuid'","state":"completed"}'
        echo '{"type":"system","subtype":"session_state_changed","state":"idle"}' ;;
    esac
done
"""
