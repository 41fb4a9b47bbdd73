#!/bin/sh
# Plays Claude in any place that has a shell: it adds a line to the file `ran` where it works, takes
# the time of STAND_IN_SECONDS, and answers. As Claude Code, it knows a prompt that it was given before,
# by its identity, and what it has done where it is asked to go on.
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
        echo '{"type":"command_lifecycle","command_uuid":"'"$uuid"'","state":"started"}'
        case $line in
        *'Continue from where you left off'*) [ -e ran ] || echo x >>ran ;;
        *) grep -qs "$uuid" .prompts || { echo "$uuid" >>.prompts && echo x >>ran; } ;;
        esac
        sleep "${STAND_IN_SECONDS:-0}"
        echo '{"type":"result","subtype":"success","is_error":false,"result":"",' \
            '"terminal_reason":"completed","total_cost_usd":0.01,"usage":{},' \
            '"user_message_uuids":["'"$uuid"'"]}'
        echo '{"type":"command_lifecycle","command_uuid":"'"$uuid"'","state":"completed"}'
        echo '{"type":"system","subtype":"session_state_changed","state":"idle"}' ;;
    esac
done
