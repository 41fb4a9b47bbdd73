"""The words by which people say that a ticket is done or names nothing: one table, by language.

Each entry is a list of words or phrases, separated by commas. A language is added by its line.
"""
# ruff: noqa: E501 -- wide letters count twice

from __future__ import annotations

# What "~" stands for at the end of a word, by language: the forms of a participle.
ENDINGS = {
    "es": ("o", "a", "os", "as"),
    "pt": ("o", "a", "os", "as"),
    "it": ("o", "a", "i", "e"),
    "fr": ("", "e", "s", "es"),
    "de": ("", "e", "er", "es", "en"),
    "ru": ("", "а", "о", "ы"),
}

# The work is done. A phrase counts where it is all that is said, as in "(fixed)" or "— erledigt".
DONE = {
    "en": "done, fixed, resolved, closed, complete, completed, finished, implemented, solved,"
    " mended, addressed, shipped, merged, obsolete, not needed any more, no longer needed,"
    " won't fix, wontfix, works now, cancelled, canceled, abandoned, dropped, rejected,"
    " discarded, declined, answered, repaired, paid",
    "zh": "完成, 已完成, 完了, 完毕, 完畢, 已修复, 已修復, 修复, 修復, 修复完成, 已修正, 已解决, 已解決,"
    " 解决, 解決, 解决了, 已关闭, 已關閉, 关闭, 关闭了, 已实现, 已實現, 已处理, 已處理, 搞定, 做完了,"
    " 修好了, 修复了, 不再需要, 取消, 已取消, 放弃, 已放弃, 不做了, 已上线, 已更新, 已发布, 完成了,"
    " 已归档",
    "hi": "पूर्ण, पूरा, पूरी, पूरा हुआ, पूरा हो गया, हो गया, हो गई, हो चुका, ठीक, ठीक किया,"
    " ठीक किया गया, ठीक हो गया, हल, हल हो गया, हल हुआ, हल किया, हल किया गया, समाप्त, संपन्न,"
    " सम्पन्न, बंद, कर दिया, कर लिया, सुलझा, सुलझा लिया, सुधारा गया, रद्द, रद्द किया गया",
    "es": "hech~, terminad~, corregid~, resuelt~, cerrad~, completad~, solucionad~, arreglad~,"
    " finalizad~, list~, implementad~, completo, acabad~, cancelad~, descartad~, anulad~,"
    " rechazad~, entregad~, abandonad~, reparad~",
    "fr": "fait~, terminé~, corrigé~, résolu~, réglé~, fermé~, clos, clôturé~, fini~, achevé~,"
    " livré~, réparé~, traité~, implémenté~, abandonné~, annulé~, rejeté~, réalisé~,"
    " classé~, validé~",
    "ar": "تم, تمت, تم الإصلاح, تم إصلاحه, تم إصلاحها, تم اصلاحه, تم الحل, تم حله, تم حلها,"
    " تم الانتهاء, تم الإنجاز, تم التنفيذ, تم الإغلاق, تمت المعالجة, منجز, منجزة, مكتمل, مكتملة,"
    " اكتمل, اكتملت, انتهى, انتهت, مغلق, مغلقة, محلول, محلولة, أنجز, أُنجز, ملغي, ألغي, تم الإلغاء",
    "bn": "সম্পন্ন, সম্পন্ন হয়েছে, সম্পূর্ণ, শেষ, শেষ হয়েছে, হয়ে গেছে, হয়েছে, সমাধান,"
    " সমাধান হয়েছে, সমাধান করা হয়েছে, সমাধান হয়ে গেছে, ঠিক করা হয়েছে, ঠিক হয়েছে,"
    " ঠিক হয়ে গেছে, করা হয়েছে, সংশোধিত, সমাপ্ত, বন্ধ, মীমাংসিত, বাতিল",
    "pt": "feit~, concluíd~, corrigid~, resolvid~, fechad~, terminad~, finalizad~, pront~,"
    " completo, completad~, consertad~, implementad~, solucionad~, acabad~, cancelad~,"
    " descartad~, abandonad~, rejeitad~, entregue, realizad~",
    "ru": "готов~, сделан~, выполнен~, исправлен~, решен~, решён, закрыт~, завершен~, завершён,"
    " устранен~, устранён, починено, починили, реализовано, закончено, сделали, исправили,"
    " пофикшено, больше не нужно, отменен~, отменён, отклонено, отклонён, исправил~,"
    " сделал~, закрыл~, решил~, починил~, пофиксил~, исправленные, решённые, решенные,"
    " закрытые, выполненные, завершённые, сделанные, устранённые, отремонтирован",
    "ur": "مکمل, مکمل ہو گیا, مکمل ہوا, ہو گیا, ہو گئی, ہوگیا, حل, حل ہو گیا, حل شدہ, حل کر دیا,"
    " ٹھیک, ٹھیک کر دیا, ٹھیک کر دیا گیا, ٹھیک ہو گیا, ختم, ختم ہو گیا, بند, کر دیا, کر دیا گیا,"
    " درست کر دیا گیا, منسوخ",
    "id": "selesai, sudah selesai, beres, ditutup, diperbaiki, sudah diperbaiki, diselesaikan,"
    " terselesaikan, rampung, tuntas, teratasi, dibatalkan, batal",
    "de": "erledigt~, abgehakt~, behoben~, fertig~, gelöst~, geschlossen~, abgeschlossen~,"
    " gefixt~, umgesetzt~, beseitigt~, korrigiert~, implementiert~, erledigt worden, hat"
    " sich erledigt, geht wieder, gemacht~, getan, fertiggestellt~, nicht mehr nötig,"
    " entfällt, hinfällig, gestrichen~, verworfen~, abgelehnt~, storniert~, beantwortet~,"
    " abgesagt~, repariert~, abgebrochen~, bezahlt~",
    "ja": "完了, 完了した, 修正した, 解決した, 対応した, 完了済み, 済, 済み, 済んだ, 対応済み, 対応済, 対応完了, 修正済み, 修正済, 修正完了, 修正しました, 解決, 解決済み, 解決済, 解決しました,"
    " 終了, 終わった, 終わり, 実装済み, 実装済, 対処済み, 直した, 直しました, クローズ, クローズ済み, 完成, 中止, キャンセル, 取り消し, 却下",
    "ko": "완료, 완료됨, 완료했음, 해결, 해결됨, 해결했음, 해결 완료, 수정됨, 수정 완료, 끝, 끝남, 종료, 닫힘, 취소, 취소됨",
    "it": "fatt~, risolt~, corrett~, chius~, completat~, finit~, terminat~, sistemat~,"
    " implementat~, annullat~, scartat~",
    "tr": "tamamlandı, bitti, çözüldü, düzeltildi, kapatıldı, yapıldı, halledildi, giderildi,"
    " tamam, iptal",
    "nl": "gedaan, klaar, opgelost, afgerond, gesloten, verholpen, afgehandeld, hersteld,"
    " voltooid, geannuleerd, vervallen, gerepareerd, opgeloste, afgeronde",
    "pl": "zrobione, gotowe, naprawione, rozwiązane, zamknięte, zakończone, ukończone,"
    " poprawione, anulowane, rozwiązany, rozwiązana, zamknięty, zamknięta, naprawiony,"
    " naprawiona, zrobiony, zrobiona, zakończony, zakończona, anulowany",
    "vi": "xong, đã xong, hoàn thành, đã hoàn thành, đã sửa, đã giải quyết, đã đóng, đã khắc phục",
    "fa": "انجام شد, انجام شده, حل شد, حل شده, بسته شد, رفع شد, رفع شده, تمام شد, تکمیل شد",
}

# What may stand before such a word ("has already been fixed").
BEFORE_DONE = (
    "already, now, all, is, was, are, were, has, have, had, been, both, since, meanwhile,"
    " finally, this, these, it, ist, sind, wurde, wurden, schon, bereits, jetzt, alles, inzwischen,"
    " mittlerweile, soweit, déjà, est, sont, a, ont, été, maintenant, tout, c'est, ya, está,"
    " están, fue, ha, sido, todo, quedó, já, foi, foram, tudo, estão, uже, уже, всё, все, было,"
    " был, была, были, è, già, stato, stata, tutto, sudah, telah, 已经, 已經, 都, 全部, すでに, 既に, 全て,"
    " पहले ही, सब, यह, لقد, هذا, it's, has been, have been, bin, habe, hab, schon mal"
)

# What may follow it ("fixed in 1.2", "behoben am 3.5."): when, where, by whom.
AFTER_DONE = (
    "by, in, on, with, via, since, as, at, of, again, per, now, today, yesterday, already,"
    " thanks, it, myself, this, last, earlier, am, im, mit, durch, seit, von, bei, per, heute, gestern, schon, ab, laut, le, la,"
    " dans, par, en, avec, depuis, hier, grâce, el, por, con, desde, hoy, ayer, em, no, na, com,"
    " hoje, ontem, pelo, pela, в, во, на, с, со, от, вчера, сегодня, il, nel, nella, da, oggi,"
    " ieri, pada, di, oleh, dengan, op, door, w, dnia, के, में, द्वारा, को, في, من, بواسطة, এ,"
    " তে, میں, کو"
)

# There is nothing to do.
NONE = {
    "en": "none, nothing, zero, no, 0, nil",
    "zh": "无, 無, 没有, 沒有, 暂无, 暫無, 暂时没有, 目前没有, 目前无, 空",
    "hi": "कोई नहीं, कुछ नहीं, नहीं, शून्य",
    "es": "ninguno, ninguna, ningún, nada, no hay, sin",
    "fr": "aucun, aucune, rien, néant, pas de, pas d', il n'y a rien, il n'y en a pas",
    "ar": "لا شيء, لا يوجد, لا توجد, لا, بدون",
    "bn": "কিছুই না, কিছু না, কিছুই নেই, কিছু নেই, নেই, কোনোটিই না, কোনোটি নয়",
    "pt": "nenhum, nenhuma, nada, não há, sem",
    "ru": "нет, ничего, ничего нет, отсутствуют, отсутствует, никаких, не найдено, не обнаружено",
    "ur": "کوئی نہیں, کچھ نہیں, نہیں",
    "id": "tidak ada, nihil, belum ada, kosong",
    "de": "keine, keiner, keines, keins, keinen, kein, nichts, nix",
    "ja": "なし, 無し, 特になし, 特に無し, ない, ありません, 特にありません, 該当なし",
    "ko": "없음, 없습니다, 해당 없음",
    "it": "nessuno, nessuna, nessun, niente, nulla",
    "tr": "yok, hiçbiri",
    "nl": "geen, niets",
    "pl": "brak, żadne, nic",
    "vi": "không có, không",
    "fa": "هیچ, هیچکدام, ندارد",
}

# What may stand beside it and names nothing either ("no known bugs so far", "derzeit keine").
BESIDE_NONE = (
    "to report, to do, to add, to fix, left, found, known, open, remaining, reported, identified,"
    " pending, so far, yet, at all, here, were, was, are, is, have been, there, currently,"
    " at the moment, at this time, right now, today, more, further, else, else left, weiter, weiteres, neues, offenes, besonderes, new, other, for now, of note, really, requested, planned, needed, to speak of,"
    " bekannt, bekannte, bekannten, offen, offene, offenen, mehr, derzeit, zurzeit, zur zeit,"
    " momentan, im moment, aktuell, gefunden, vorhanden, zu tun, zu melden, weitere, weiteren,"
    " neue, neuen, bisher, noch, heute, hier, übrig, gibt es, sonst, pour le moment,"
    " pour l'instant, actuellement, connu, connue, connus, ouvert, ouverts, à signaler, à faire,"
    " trouvé, de connu, de plus, en cours, por ahora, por el momento, de momento, actualmente,"
    " conocido, conocidos, pendiente, pendientes, abierto, abiertos, que hacer, encontrado, más,"
    " nuevo, por enquanto, no momento, atualmente, conhecido, conhecidos, aberto, abertos,"
    " a fazer, encontrado, mais, novo, пока, пока что, сейчас, известных, открытых, больше,"
    " новых, на данный момент, अभी, फिलहाल, حاليا, حالياً, في الوقت الحالي, এখন, এই মুহূর্তে,"
    " فی الحال, ابھی, saat ini, untuk saat ini, lagi, al momento, per ora, noto, noti, şu an,"
    " momenteel, bekend, na razie"
)

# Nouns that are denied ("no …"): defects, and other work.
DEFECT = (
    "bug, bugs, issue, issues, fixme, fixmes, problem, problems, error, errors, fehler,"
    " probleme, problème, problèmes, bogue, bogues, problemas, errores, erro, erros, ошибок,"
    " багов, проблем, مشاكل, أخطاء, समस्या, त्रुटि, সমস্যা, ত্রুটি, defect, defects, fehlern,"
    " mängel, erreur, erreurs, anomalie, anomalies, fallo, fallos, falha, falhas, defeitos,"
    " ошибки, ошибка, баги, баг, проблемы, 问题, 缺陷, 错误, bug 修复, 不具合, バグ, 問題"
)
WORK = (
    "task, tasks, todo, todos, feature, features, enhancement, enhancements, work, aufgaben,"
    " punkte, tâche, tâches, tarea, tareas, tarefa, tarefas, задач, items, points,"
    " todo items, punkt, vorgänge, arbeiten, задачи, задача, дела, 任务, 事项, 待办, タスク, 작업"
)

# What a heading or label over finished work may have beside "fixed": "Resolved this week".
BESIDE_SECTION = (
    "this, last, past, previous, week, sprint, month, today, yesterday, recently, so far,"
    " from, of, the, in, on, since, for, release, version, diese, dieser, letzte, letzter,"
    " vergangene, woche, monat, heute, gestern, bisher, aus, der, die, das, seit, cette,"
    " semaine, dernière, la, le, les, de, du, mois, esta, este, semana, pasada, mes, hoy,"
    " los, las, hoje, passada, desta, mês, na, на, этой, неделе, за, эту, неделю, сегодня, 的, の, こと,"
    " 本周, 上周, 今天, 本月, 今週, 先週"
)

# What such a heading says instead, as in a changelog.
DONE_SECTION = "added, changed, removed, released, deployed, geschafft, neu, hinzugefügt, geändert"

# Placeholders instead of a title; they must be the whole value.
PLACEHOLDER = (
    "n/a, n / a, n.a., na, null, tbd, tba, wip, true, false, yes, on, off, empty, enabled,"
    " disabled, open, pending, in progress, not started, unknown, optional, required, see above,"
    " see below, offen, noch offen, in arbeit, unklar, unbekannt, folgt, siehe oben, siehe unten,"
    " s.o., s.u., ja, nein, leer, k.a., entf., en cours, à définir, à compléter, voir ci-dessous,"
    " voir ci-dessus, oui, non, vide, inconnu, pendiente, en curso, en progreso, por definir,"
    " ver abajo, ver arriba, sí, desconocido, vacío, pendente, em andamento, a definir,"
    " ver abaixo, ver acima, sim, não, vazio, неизвестны, в работе, открыто, неизвестно, см. ниже, см. выше,"
    " да, 待定, 进行中, 進行中, 未定, 同上, 見下, 未着手, 対応中, 下記参照, 上記参照, जारी, लंबित, قيد التنفيذ, معلق, চলমান,"
    " جاری, زیر التوا, dalam proses, tertunda, in corso, da definire, vedi sotto, devam ediyor,"
    " bezig, w toku"
)

# The name of the field below a ticket that says whether it is done.
STATUS = (
    "status, state, resolution, stand, zustand, erledigung, statut, état, etat, estado, situação,"
    " situacao, статус, состояние, 状态, 狀態, 状況, 状態, ステータス, 상태, स्थिति, दशा, الحالة, حالة, অবস্থা,"
    " স্ট্যাটাস, حیثیت, حالت, اسٹیٹس, keadaan, stato, durum, وضعیت, trạng thái"
)

# A field that says so by its name ("Erledigt: ja", "Fixed: 2.1"), unless its value is one of these.
NOT_YET = (
    "no, not yet, never, pending, open, nein, noch nicht, offen, non, pas encore, no todavía,"
    " aún no, não, ainda não, нет, ещё нет, пока нет, 否, 未, まだ, いいえ, नहीं, لا, না, نہیں, tidak,"
    " belum, hayır, nee, nie"
)

# The title only points elsewhere ("see #12").
SEE = (
    "see, see also, cf, cf., ref, ref., refs, reference, related to, same as, duplicate of,"
    " siehe, siehe auch, vgl., voir, voir aussi, ver, véase, veja, см., см. также, 参见, 见, 見, 参照,"
    " vedi, zie, lihat"
)

# Words before a marker that deny it ("there is no BUG: here"), or tell that the work is done
# ("fixed BUG: overlapping writes").
DENIAL = (
    "no, not, never, without, zero, neither, nor, any, cannot, kein, keine, keinen, nicht, ohne,"
    " pas, sans, aucun, aucune, sin, ningún, ninguna, sem, nenhum, nenhuma, senza, нет, ни, без,"
    " geen, bez, tanpa, fixed, resolved, closed, completed, finished, done, removed, deleted,"
    " implemented, addressed, solved, cleared, dropped, eliminated, fixing, removing, closing,"
    " resolving"
)

# Words before a marker that speak of the word itself ("lines with TODO: in them").
MENTION = (
    "for, word, marker, markers, keyword, prefix, string, pattern, tag, label, contains, contain,"
    " containing, like, named, called, says, reads, with, use, uses, using, write, writes, every,"
    " each, all, literal, text, replace, replaced, format, e.g., i.e."
)

# Words with which no title ends: what follows belongs to the title.
LEADING = (
    "a, an, the, this, that, of, in, on, to, from, by, at, as, with, for, open, known, old, last,"
    " next, new, first, each, every, any, all, no, existing, other, another, our, your, its,"
    " their, fix, drops"
)

# Fields that belong to the ticket above them.
FIELDS = (
    "description, details, priority, severity, tags, labels, assignee, owner, type, due,"
    " estimate, effort, component, components, milestone, epic, reporter, location, file, files,"
    " created, impact, category, parent, area, points, story"
)
