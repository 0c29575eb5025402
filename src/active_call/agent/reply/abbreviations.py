"""Words after which a full stop does not end a sentence, in common languages. All in lower case."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ALWAYS_ABBREVIATED = _words("""
    dr mr mrs ms mx prof st e.g i.e vs approx fig al gen sen rev capt lt col sgt gov hon pres messrs mt ft cf esp incl excl
    bzw d.h z.b u.a u.u s.o s.u i.d.r i.a o.ä v.a zzgl inkl evtl ggf vgl ca hr fr frl ing dipl mio mrd geb gest bspw sog allg str abt tel
    mwst ust sr sra srta dra ud uds vd vds pág núm aprox av avda p.ej ej lic arq exmo exma v.exa
    mme mlle mgr m mm env bd boul chap p.ex c.-à-d
    sig dott dott.ssa sig.ra avv geom
    dhr mevr mw bijv o.a d.w.z m.b.v blz t.a.v
    t.ex bl.a f.eks kl f.d
    np tzn ul inż mec
    ул т.е т.к т.п т.н руб тыс млн млрд стр им
    vb dk örn
    """)
SOMETIMES_ABBREVIATED = _words("""
    a.m p.m etc inc ltd co corp jr ph.d dept ave blvd usw u.s.w o.dgl enz itd и.т.д т.д г std feb apr jun jul aug sep sept
    oct okt nov dez tue tues wed thu thur thurs fri mo
    """)
"""A sentence ends after these if the next word begins with a capital."""
BEFORE_NUMBERS = _words("no nr nos nrs ext tel p pp vol abs art kap pos n° núm jan dec")
"""These do not end a sentence if a number follows."""
BEFORE_ORDINALS = _words("""
    am der die das den dem des vom zum zur im ins bis ab seit beim ihr ihre ihrem ihren unser unsere mein meine sein seine jeder jede
    jedes jeden ein eine einen einem einer montag dienstag mittwoch donnerstag freitag samstag sonnabend sonntag
    mandag tirsdag onsdag torsdag fredag lørdag søndag maandag
    """)
"""After these a number with a full stop is an ordinal."""
MONTHS = _words("""
    januar jänner februar feber märz april mai juni juli august september oktober november dezember
    jan feb apr jun jul aug sep sept okt nov dez
    januar februar marts maj
    ledna února března dubna května června července srpna září října listopadu prosince
    ocak şubat mart nisan mayıs haziran temmuz ağustos eylül ekim kasım aralık
    január február március április május június július augusztus szeptember október november december
    januára februára marca apríla mája júna júla augusta septembra októbra novembra decembra
    """)
DAYS = _words("monday tuesday wednesday thursday friday saturday sunday utc gmt est pst cet eastern pacific central mountain")
SENTENCE_STARTERS = _words("""
    the a an he she it we i you they this that these those there then here if but and or so please what when where who why how is are
    do does did can could would will my our your his her its their in on at for to from with after before not no yes just let as
    """)
"""Words that begin a new sentence if they follow initials and are capitalised."""
